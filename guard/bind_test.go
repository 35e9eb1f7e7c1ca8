package guard_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/locker"
)

// A shelf is a Resource in memory, for one number. Its errors make the calls
// fail, and what is asked of it is noted.
type shelf struct {
	loadErr, storeErr error
	during            func() // called by Store

	mu     sync.Mutex
	value  int
	token  locker.Token
	stores int
}

func (s *shelf) Load(ctx context.Context) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.value, s.loadErr
}

func (s *shelf) Store(ctx context.Context, token locker.Token, value int) error {
	if s.during != nil {
		s.during()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stores++
	if s.storeErr != nil {
		return s.storeErr
	}
	if token < s.token {
		return fmt.Errorf("%w: token %d after %d", guard.ErrFenced, token, s.token)
	}
	s.value, s.token = value, token
	return nil
}

// want fails the test unless the shelf holds value after so many stores.
func (s *shelf) want(tb testing.TB, value, stores int) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.value != value || s.stores != stores {
		tb.Errorf("the shelf has %d after %d stores, want %d after %d", s.value, s.stores, value, stores)
	}
}

func increment(_ context.Context, n int) (int, error) { return n + 1, nil }

func TestABoundValueIsLoadedAndStoredUnderItsLockWithItsToken(t *testing.T) {
	t.Parallel()
	a, b := newPair(t)
	s := &shelf{value: 7, during: func() { wantLocked(t, b) }}
	g := guard.New(a, key, guard.Bind[int](s))
	v, err := g.Update(t.Context(), func(ctx context.Context, cur int) (int, error) {
		wantLocked(t, b)
		h, ok := locker.HoldFrom(ctx)
		if !ok || h.Key() != key || h.Token() <= s.token {
			t.Errorf("the function has hold %v", h)
		}
		return cur + 1, nil
	})
	wantValue(t, v, err, 8)
	if s.token == 0 {
		t.Error("it was stored without a token")
	}
	s.want(t, 8, 1)
	wantFree(t, b)
	v, err = g.Get(t.Context())
	wantValue(t, v, err, 8)
}

// A register is a shelf that can be claimed.
type register struct{ shelf }

func (r *register) Claim(ctx context.Context, token locker.Token) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if token < r.token {
		return 0, fmt.Errorf("%w: token %d after %d", guard.ErrFenced, token, r.token)
	}
	r.token = token
	return r.value, nil
}

func TestWhoHasClaimedAValueIsNotOverwrittenByWhoClaimedItEarlier(t *testing.T) {
	t.Parallel()
	a, b := newPair(t)
	r := &register{shelf{value: 7}}
	update := func(l *locker.Locker, fn func(context.Context, int) (int, error)) error {
		_, err := guard.New(l, key, guard.Bind[int](r)).Update(t.Context(), fn)
		return err
	}
	claimed, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	var once sync.Once
	r.during = func() { // a's Store: its lock is lost, and b claims the value
		once.Do(func() {
			evict(t, b)
			go func() {
				ended <- update(b, func(_ context.Context, cur int) (int, error) {
					close(claimed)
					receive(t, goOn)
					return cur + 10, nil
				})
			}()
			receive(t, claimed)
		})
	}
	err := update(a, increment)
	wantErr(t, err, guard.ErrFenced, locker.ErrLost)
	close(goOn)
	wantErr(t, receive(t, ended), nil)
	r.want(t, 17, 2)
}

func TestAViewClaimsNothing(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t)
	r := &register{shelf{value: 7, token: 1 << 62}}
	g := guard.New(a, key, guard.Bind[int](r))
	wantErr(t, g.View(t.Context(), func(context.Context, int) error { return nil }), nil)
	_, err := g.Update(t.Context(), func(context.Context, int) (int, error) { panic("it ran") })
	wantErr(t, err, guard.ErrFenced)
	wantOp(t, err, "update")
}

func TestAStoreThatRefusesATokenFencesTheUpdateOff(t *testing.T) {
	t.Parallel()
	a, b := newPair(t)
	s := &shelf{value: 7, token: 1 << 62}
	v, err := guard.New(a, key, guard.Bind[int](s)).Update(t.Context(), increment)
	wantErr(t, err, guard.ErrFenced)
	wantOp(t, err, "update")
	if v != 0 {
		t.Errorf("got %d", v)
	}
	s.want(t, 7, 1)
	wantFree(t, b)
}

func TestTheErrorsOfAResourceComeBackAndTheLockIsReleased(t *testing.T) {
	t.Parallel()
	a, b := newPair(t)
	for _, s := range []*shelf{{loadErr: errMine}, {storeErr: errMine}} {
		_, err := guard.New(a, key, guard.Bind[int](s)).Update(t.Context(), increment)
		wantErr(t, err, errMine)
		wantOp(t, err, "update")
		wantFree(t, b)
	}
	g := guard.New(a, key, guard.Bind[int](&shelf{value: 7, loadErr: errMine}))
	v, err := g.Get(t.Context())
	wantErr(t, err, errMine)
	wantOp(t, err, "get")
	if v != 0 {
		t.Errorf("got %d", v)
	}
	err = g.View(t.Context(), func(context.Context, int) error { t.Error("it ran"); return nil })
	wantErr(t, err, errMine)
	wantOp(t, err, "view")
	wantFree(t, b)
}

func TestABoundValueIsNotStoredAfterItsLockIsLost(t *testing.T) {
	t.Parallel()
	a, b := newPair(t)
	s := &shelf{value: 7}
	for _, own := range []error{nil, errMine} {
		v, err := guard.New(a, key, guard.Bind[int](s)).Update(t.Context(), func(ctx context.Context, cur int) (int, error) {
			evict(t, b)
			receive(t, ctx.Done())
			return 8, own
		})
		wantErr(t, err, locker.ErrLost)
		wantOp(t, err, "update")
		if own != nil {
			wantErr(t, err, own)
		} else {
			wantErr(t, err, guard.ErrFenced)
		}
		if v != 0 {
			t.Errorf("got %d", v)
		}
		s.want(t, 7, 0)
		wantFree(t, b)
	}
}

func TestALockLostDuringAStoreIsToldThoughTheValueIsStored(t *testing.T) {
	t.Parallel()
	a, b := newPair(t)
	s := &shelf{value: 7, during: func() { evict(t, b) }}
	_, err := guard.New(a, key, guard.Bind[int](s)).Update(t.Context(), increment)
	wantErr(t, err, locker.ErrLost)
	if errors.Is(err, guard.ErrFenced) {
		t.Errorf("got error %v, though it is stored", err)
	}
	wantOp(t, err, "update")
	s.want(t, 8, 1)
}

// evict takes space/key from its holder.
func evict(tb testing.TB, operator *locker.Locker) {
	tb.Helper()
	if done, err := operator.Evict(context.Background(), key); !done || err != nil {
		tb.Errorf("Evict: %v, %v", done, err)
	}
}

func TestABoundValueHasNoVersionsAndCannotBeWatchedDeletedOrCombined(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t)
	g := guard.New(a, key, guard.Bind[int](new(shelf)))
	for _, use := range []string{"get a version", "watch", "delete", "update of two", "update of several"} {
		if err := uses[use](g, t.Context()); !errors.Is(err, guard.ErrNoResource) {
			t.Errorf("%s: got error %v, want %v", use, err, guard.ErrNoResource)
		}
	}
}
