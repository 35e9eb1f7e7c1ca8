package locker_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

func TestGoroutinesOfOneProcessGetTheLockInTheOrderOfArrival(t *testing.T) {
	t.Parallel()
	order := &blockedOrder{}
	a, _, _, _ := newPair(t, locker.WithHook(order))
	held := acquire(t, a, key)
	var mu sync.Mutex
	var got []int
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			h := acquire(t, a, key)
			mu.Lock()
			got = append(got, i)
			mu.Unlock()
			release(t, h)
		})
		until(t, "it waits", func() bool { return int(order.n.Load()) == i+1 })
	}
	release(t, held)
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
	held := acquire(t, a, key)
	first := async(t, func() *locker.Hold { return acquire(t, b, key) })
	untilQueued(t, a, key, 2)
	c := newLocker(t, client, locker.WithPrefix(prefix))
	second := async(t, func() *locker.Hold { return acquire(t, c, key) })
	untilQueued(t, a, key, 3)
	third := async(t, func() *locker.Hold { return acquire(t, a, key) }) // behind itself, so last
	release(t, held)
	h := first()
	untilQueued(t, a, key, 3)
	tokens := []locker.Token{held.Token(), h.Token()}
	release(t, h)
	h = second()
	tokens = append(tokens, h.Token())
	release(t, h)
	h = third()
	tokens = append(tokens, h.Token())
	release(t, h)
	if !slices.IsSorted(tokens) {
		t.Errorf("tokens %v", tokens)
	}
}

func TestAWaiterThatGivesUpLeavesTheQueueAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	held := acquire(t, a, key)
	ctx, cancel := context.WithCancel(context.Background())
	gone := async(t, func() error { _, err := b.Acquire(ctx, key); return err })
	untilQueued(t, a, key, 2)
	c := newLocker(t, client, locker.WithPrefix(prefix))
	next := async(t, func() *locker.Hold { return acquire(t, c, key) })
	untilQueued(t, a, key, 3)
	cancel()
	wantErr(t, gone(), context.Canceled)
	untilQueued(t, a, key, 2)
	release(t, held)
	release(t, next())
	if got := keys(t, client, prefix); len(got) != 0 {
		t.Errorf("left %v", got)
	}
}

func TestACancelThatRacesWithAGrantEitherHoldsOrLeavesNothing(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	for range 100 {
		held := acquire(t, a, key)
		ctx, cancel := context.WithCancelCause(context.Background())
		cause := errors.New("changed my mind")
		got := async(t, func() error {
			h, err := b.Acquire(ctx, key)
			if err == nil {
				return h.Release(context.Background())
			}
			if !errors.Is(err, context.Canceled) || !errors.Is(err, cause) {
				t.Errorf("got %v", err)
			}
			return nil
		})
		untilQueued(t, a, key, 2)
		var wg sync.WaitGroup
		wg.Go(func() { cancel(cause) })
		wg.Go(func() { release(t, held) })
		wg.Wait()
		if err := got(); err != nil {
			t.Error(err)
		}
		if got := keys(t, client, prefix); len(got) != 0 {
			t.Fatalf("left %v", got)
		}
	}
}

func TestManyGoroutinesAndProcessesNeverHoldTogether(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	c := newLocker(t, client, locker.WithPrefix(prefix))
	names := []keyspace.Key{key, keyspace.MustParse("space"), keyspace.MustParse("space/key/below")}
	plain := make([]int, len(names)) // the race detector watches it
	holders := make([]atomic.Int32, len(names))
	last := make([]locker.Token, len(names))
	var wg sync.WaitGroup
	for _, l := range []*locker.Locker{a, b, c} {
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
	if got := keys(t, client, prefix); len(got) != 0 {
		t.Errorf("left %v", got)
	}
}

func TestWaitingForALockThatTheContextHoldsIsRefused(t *testing.T) {
	t.Parallel()
	a, _, _, _ := newPair(t)
	h := acquire(t, a, key)
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
	release(t, h)
	_, err = a.Acquire(h.Context(), key) // no deadlock any more, but the context is done
	wantErr(t, err, context.Canceled, locker.ErrReleased)
}

func TestANilHoldCanBeReleased(t *testing.T) {
	var h *locker.Hold
	if err := h.Release(t.Context()); err != nil {
		t.Error(err)
	}
}
