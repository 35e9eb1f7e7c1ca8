package locker_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
)

func TestRelease(t *testing.T) {
	t.Parallel()
	t.Run("under a context that is done", aReleaseUnderACancelledContextFrees)
	t.Run("failed", aFailedReleaseIsNotForgotten)
	t.Run("of a deleted key", aReleaseThatDeletedNothingIsAnError)
	t.Run("again, while another goroutine holds", aReleaseNeverFreesAnotherGoroutinesHold)
	t.Run("late, while a younger hold is there", aStaleReleaseNeverDeletesAYoungerLock)
}

func aReleaseUnderACancelledContextFrees(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	h := locktest.Acquire(t, a, key)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	locktest.Must(t, h.Release(ctx))
	_, err := b.TryAcquire(t.Context(), key)
	locktest.Must(t, err)
}

// A release that was not carried out stays known, and says so
// until it is.
func aFailedReleaseIsNotForgotten(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix := locker.WithPrefix(s.Prefix(t))
	var broken atomic.Bool
	a := newLocker(t, faulty(s.Client(t), &faults{before: func(_ context.Context, c call) error {
		if c.kind == "delete" && broken.Load() {
			return errNet
		}
		return nil
	}}), prefix)
	b := newLocker(t, s.Client(t), prefix)
	h := locktest.Acquire(t, a, key)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	broken.Store(true)
	locktest.WantErr(t, h.Release(ctx), errNet)
	if err := h.Release(ctx); err == nil {
		t.Fatal("the retry gave nil, and the key is still there")
	}
	_, err := b.TryAcquire(t.Context(), key)
	locktest.WantErr(t, err, locker.ErrLocked)
	broken.Store(false)
	locktest.Release(t, h)
	_, err = b.TryAcquire(t.Context(), key)
	locktest.Must(t, err)
}

// The release comes before anybody could have told.
func aReleaseThatDeletedNothingIsAnError(t *testing.T) {
	t.Parallel()
	a, b, client, _ := newPair(t)
	h := locktest.Acquire(t, a, key)
	_, err := client.Delete(t.Context(), entryOf(h))
	locktest.Must(t, err)
	rival := locktest.Acquire(t, b, key)
	locktest.WantLost(t, h.Release(t.Context()), locker.ReasonKeyDeleted)
	releaseHeld(t, rival, a)
}

func aReleaseNeverFreesAnotherGoroutinesHold(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	first := locktest.Acquire(t, a, key)
	waiter := acquiring(t.Context(), a, key)
	_, err := a.TryAcquire(t.Context(), key)
	locktest.WantErr(t, err, locker.ErrLocked)
	wantWaiting(t, waiter)
	locktest.Release(t, first)
	second := granted(t, waiter)
	locktest.Release(t, first)
	releaseHeld(t, second, b)
}

// A delete commits and its answer is lost, the lock is taken
// again under the same lease, and then the old delete arrives once more.
func aStaleReleaseNeverDeletesAYoungerLock(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix := locker.WithPrefix(s.Prefix(t))
	var stale atomic.Pointer[call]
	a := newLocker(t, faulty(s.Client(t), &faults{after: func(_ context.Context, c call, err error) error {
		if c.kind == "delete" && c.wrote && stale.CompareAndSwap(nil, &c) {
			return errNet
		}
		return err
	}}), prefix)
	b := newLocker(t, s.Client(t), prefix)

	old := locktest.Acquire(t, a, key)
	locktest.WantErr(t, old.Release(t.Context()), errNet)
	young := locktest.Acquire(t, a, key)
	if entryOf(young) != entryOf(old) {
		t.Fatal("the locks have keys of their own; this test is about one key")
	}
	locktest.Must(t, stale.Load().again())
	locktest.Release(t, old)
	releaseHeld(t, young, b)
}
