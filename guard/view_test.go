package guard_test

import (
	"context"
	"sync"
	"testing"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

func TestAViewShowsTheValueUnderItsLock(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	a, b := s.locker(t), s.locker(t)
	s.put(t, "7")
	for name, g := range map[string]*guard.Guard[int]{
		"stored": counter(a),
		"bound":  guard.New(a, key, guard.Bind[int](&shelf{value: 7})),
	} {
		ran := false
		err := g.View(t.Context(), func(ctx context.Context, cur int) error {
			ran = true
			if cur != 7 {
				t.Errorf("%s: got %d", name, cur)
			}
			if h, ok := locker.HoldFrom(ctx); !ok || h.Key() != key {
				t.Errorf("%s: the function has hold %v", name, h)
			}
			wantLocked(t, b)
			return nil
		})
		wantErr(t, err, nil)
		if !ran {
			t.Errorf("%s: the function did not run", name)
		}
		wantFree(t, b)
	}
	s.wantStored(t, key, "7")
}

func TestViewsRunTogetherAndUpdatesAlone(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	a, b := s.locker(t), s.locker(t)
	arrived, leave := make(chan int), make(chan struct{})
	var wg sync.WaitGroup
	for _, l := range []*locker.Locker{a, a, b} {
		wg.Go(func() {
			err := counter(l).View(t.Context(), func(_ context.Context, cur int) error {
				arrived <- cur
				<-leave
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	for range 3 {
		if cur := receive(t, arrived); cur != 0 {
			t.Errorf("a view shows %d", cur)
		}
	}
	wantLocked(t, b)
	updated := make(chan error)
	go func() {
		_, err := counter(b).Update(t.Context(), increment)
		updated <- err
	}()
	s.wantAbsent(t)
	close(leave)
	wg.Wait()
	wantErr(t, receive(t, updated), nil)
	err := counter(a).View(t.Context(), func(_ context.Context, cur int) error {
		wantValue(t, cur, nil, 1)
		return nil
	})
	wantErr(t, err, nil)
}

func TestAnUpdateUnderASharedLockIsRefused(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	a := s.locker(t)
	for _, o := range []locker.AcquireOption{locker.Shared(), locker.Slots(2)} {
		c := counter(a, guard.Acquiring[int](o))
		_, err := c.Update(t.Context(), increment)
		wantErr(t, err, locker.ErrInvalidOption)
		other := guard.New(a, keyspace.MustParse("other"), guard.Stored(guard.JSON[int]()), guard.Acquiring[int](o))
		err = guard.Update2(t.Context(), c, other, func(_ context.Context, x, y int) (int, int, error) { return x, y, nil })
		wantErr(t, err, locker.ErrInvalidOption)
		s.wantAbsent(t)
		wantFree(t, a)
	}
}

func TestAViewReturnsTheErrorOfItsFunctionAsItIs(t *testing.T) {
	t.Parallel()
	a, b := newPair(t)
	if err := counter(a).View(t.Context(), func(context.Context, int) error { return errMine }); err != errMine {
		t.Errorf("got error %v, want %v", err, errMine)
	}
	wantFree(t, b)
}

func TestAViewOfALostLockSaysSo(t *testing.T) {
	t.Parallel()
	a, b := newPair(t)
	err := counter(a).View(t.Context(), func(ctx context.Context, _ int) error {
		evict(t, b)
		receive(t, ctx.Done())
		return errMine
	})
	wantErr(t, err, locker.ErrLost, errMine)
	wantOp(t, err, "view")
}

func TestAViewOfWhatDoesNotDecodeDoesNotRun(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	a, b := s.locker(t), s.locker(t)
	s.put(t, "seven")
	err := counter(a).View(t.Context(), func(context.Context, int) error { t.Error("it ran"); return nil })
	wantErr(t, err, guard.ErrDecode)
	wantOp(t, err, "view")
	wantFree(t, b)
}
