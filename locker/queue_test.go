package locker_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

func TestGoroutinesOfOneProcessGetTheLockInTheOrderOfArrival(t *testing.T) {
	t.Parallel()
	order := &blockedOrder{}
	a, _, _, _ := newPair(t, locker.WithHook(order))
	held := locktest.Acquire(t, a, key)
	var mu sync.Mutex
	var got []int
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			h := locktest.Acquire(t, a, key)
			mu.Lock()
			got = append(got, i)
			mu.Unlock()
			locktest.Release(t, h)
		})
		locktest.Until(t, "it waits", func() bool { return int(order.n.Load()) == i+1 })
	}
	locktest.Release(t, held)
	wg.Wait()
	if want := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}; !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

// blockedOrder counts the acquires that wait in this process.
type blockedOrder struct {
	locker.NopHook
	n atomic.Int64
}

func (b *blockedOrder) Blocked(_ context.Context, d locker.BlockedData) {
	if d.Local {
		b.n.Add(1)
	}
}

func TestProcessesGetTheLockInTheOrderOfArrival(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	held := locktest.Acquire(t, a, key)
	first := locktest.Async(t, func() *locker.Hold { return locktest.Acquire(t, b, key) })
	locktest.UntilQueued(t, a, key, 2)
	c := newLocker(t, client, locker.WithPrefix(prefix))
	second := locktest.Async(t, func() *locker.Hold { return locktest.Acquire(t, c, key) })
	locktest.UntilQueued(t, a, key, 3)
	third := locktest.Async(t, func() *locker.Hold { return locktest.Acquire(t, a, key) }) // behind itself, so last
	locktest.Release(t, held)
	h := first()
	locktest.UntilQueued(t, a, key, 3)
	tokens := []locker.Token{held.Token(), h.Token()}
	locktest.Release(t, h)
	h = second()
	tokens = append(tokens, h.Token())
	locktest.Release(t, h)
	h = third()
	tokens = append(tokens, h.Token())
	locktest.Release(t, h)
	if !slices.IsSorted(tokens) {
		t.Errorf("tokens %v", tokens)
	}
}

func TestAWaiterThatGivesUpLeavesTheQueueAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	held := locktest.Acquire(t, a, key)
	ctx, cancel := context.WithCancel(context.Background())
	gone := locktest.Async(t, func() error { _, err := b.Acquire(ctx, key); return err })
	locktest.UntilQueued(t, a, key, 2)
	c := newLocker(t, client, locker.WithPrefix(prefix))
	next := locktest.Async(t, func() *locker.Hold { return locktest.Acquire(t, c, key) })
	locktest.UntilQueued(t, a, key, 3)
	cancel()
	locktest.WantErr(t, gone(), context.Canceled)
	locktest.UntilQueued(t, a, key, 2)
	locktest.Release(t, held)
	locktest.Release(t, next())
	locktest.Until(t, "nothing is left", func() bool { return len(keys(t, client, prefix)) == 0 })
}

func TestACancelThatRacesWithAGrantEitherHoldsOrLeavesNothing(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	for range 100 {
		held := locktest.Acquire(t, a, key)
		ctx, cancel := context.WithCancelCause(context.Background())
		cause := errors.New("changed my mind")
		got := locktest.Async(t, func() error {
			h, err := b.Acquire(ctx, key)
			if err == nil {
				return h.Release(context.Background())
			}
			if !errors.Is(err, context.Canceled) || !errors.Is(err, cause) {
				t.Errorf("got %v", err)
			}
			return nil
		})
		locktest.UntilQueued(t, a, key, 2)
		var wg sync.WaitGroup
		wg.Go(func() { cancel(cause) })
		wg.Go(func() { locktest.Release(t, held) })
		wg.Wait()
		if err := got(); err != nil {
			t.Error(err)
		}
		locktest.Until(t, "nothing is left", func() bool { return len(keys(t, client, prefix)) == 0 })
	}
}

func TestManyGoroutinesAndProcessesNeverHoldTogether(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	c, d := newLocker(t, client, locker.WithPrefix(prefix)), newLocker(t, client, locker.WithPrefix(prefix)) // of one client
	names := []keyspace.Key{key, keyspace.MustParse("space"), keyspace.MustParse("space/key/below")}
	plain := make([]int, len(names)) // the race detector watches it
	holders := make([]atomic.Int32, len(names))
	last := make([]locker.Token, len(names))
	var wg sync.WaitGroup
	for _, l := range []*locker.Locker{a, b, c, d} {
		for range 6 {
			wg.Go(func() {
				for range 15 {
					i := rand.IntN(len(names))
					ctx, cancel := context.WithCancel(context.Background())
					if rand.IntN(4) == 0 {
						go cancel()
					}
					err := l.RunInLock(ctx, names[i], func(_ context.Context, h *locker.Hold) error {
						if holders[i].Add(1) != 1 {
							t.Error("two hold at once")
						}
						if h.Token() <= last[i] {
							t.Errorf("token %d after %d", h.Token(), last[i])
						}
						last[i] = h.Token()
						plain[i]++
						holders[i].Add(-1)
						return nil
					})
					if err != nil && !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
					cancel()
				}
			})
		}
	}
	wg.Wait()
	t.Logf("holds per key: %v", plain)
	released(t, func() bool { return len(keys(t, client, prefix)) == 0 })
	if got := keys(t, client, prefix); len(got) != 0 {
		t.Errorf("left %v", got)
	}
}

func TestWaitingForALockThatTheContextHoldsIsRefused(t *testing.T) {
	t.Parallel()
	a, _, _, _ := newPair(t)
	h := locktest.Acquire(t, a, key)
	for name, ctx := range map[string]context.Context{
		"its context": h.Context(),
		"of another hold below": func() context.Context {
			inner, err := a.Acquire(h.Context(), keyspace.MustParse("other"))
			if err != nil {
				t.Fatal(err)
			}
			return inner.Context()
		}(),
	} {
		_, err := a.Acquire(ctx, key)
		if !errors.Is(err, locker.ErrDeadlock) {
			t.Errorf("%s: got %v", name, err)
		}
		_, err = a.TryAcquire(ctx, key)
		if !errors.Is(err, locker.ErrLocked) {
			t.Errorf("%s: try: got %v", name, err)
		}
	}
	_, err := a.Acquire(h.Context(), keyspace.MustParse("space"))
	if err != nil {
		t.Error(err)
	}
	locktest.Release(t, h)
	_, err = a.Acquire(h.Context(), key) // no deadlock any more, but the context is done
	locktest.WantErr(t, err, context.Canceled, locker.ErrReleased)
}

func TestANilHoldCanBeReleased(t *testing.T) {
	var h *locker.Hold
	if err := h.Release(t.Context()); err != nil {
		t.Error(err)
	}
}
