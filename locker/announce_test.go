package locker_test

import (
	"context"
	"strings"
	"testing"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
)

func TestWhatAHoldAnnouncesIsSeenInOrderByWhoWatchesTheLock(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	ctx, cancel := context.WithTimeout(t.Context(), locktest.Wait)
	defer cancel()
	seen := make(chan locker.Queue, 100)
	watching := locktest.Async(t, func() error {
		for q, err := range b.Watch(ctx, locktest.Key) {
			if err != nil {
				return err
			}
			seen <- q
		}
		return nil
	})
	if q := locktest.Receive(t, seen); len(q.Holders) != 0 || q.Revision == 0 {
		t.Errorf("at first %+v", q)
	}
	h := locktest.Acquire(t, a, locktest.Key, locker.Announcing("first"))
	for _, text := range []string{"first", "second", "\xff\x00", ""} {
		if text != "first" {
			if err := h.Announce(ctx, text); err != nil {
				t.Fatal(err)
			}
		}
		q := locktest.Receive(t, seen)
		if len(q.Holders) != 1 || q.Holders[0].Announcement != text || q.Holders[0].Token != h.Token() || q.Holders[0].Written != q.Revision {
			t.Errorf("%q: %+v", text, q)
		}
	}
	waiter := locktest.Async(t, func() *locker.Hold { return locktest.Acquire(t, b, locktest.Key, locker.Announcing("of b")) })
	if q := locktest.Receive(t, seen); len(q.Waiters) != 1 || q.Waiters[0].Announcement != "of b" {
		t.Errorf("%+v", q)
	}
	locktest.Release(t, h)
	if q := locktest.Receive(t, seen); len(q.Holders) != 1 || q.Holders[0].Announcement != "of b" {
		t.Errorf("%+v", q)
	}
	locktest.WantErr(t, h.Announce(ctx, "late"), locker.ErrReleased)
	locktest.Release(t, waiter())
	if q := locktest.Receive(t, seen); len(q.Holders) != 0 {
		t.Errorf("at the end %+v", q)
	}
	cancel()
	if err := watching(); err != nil {
		t.Error(err)
	}
}

func TestBadAnnouncementsAreRefused(t *testing.T) {
	t.Parallel()
	a, _, _, _ := newPair(t)
	ctx := t.Context()
	long := strings.Repeat("x", 16<<10+1)
	locktest.WantErr(t, locktest.Second(a.Acquire(ctx, locktest.Key, locker.Announcing(long))), locker.ErrInvalidOption)
	locktest.WantErr(t, locktest.Second(a.Acquire(ctx, locktest.Key, locker.Announcing(""), locker.Shared())), locker.ErrInvalidOption)
	h := locktest.Acquire(t, a, locktest.Key)
	locktest.WantErr(t, h.Announce(ctx, "x"), locker.ErrInvalidOption)
	locktest.Release(t, h)
	h = locktest.Acquire(t, a, locktest.Key, locker.Announcing(long[1:]))
	locktest.WantErr(t, h.Announce(ctx, long), locker.ErrInvalidOption)
	locktest.Release(t, h)
}

func TestPromoteHasANamedWaiterBeTheNext(t *testing.T) {
	t.Parallel()
	a, b, _, prefix := newPair(t)
	c := beside(t, prefix, locker.WithOwner("c"))
	ctx := t.Context()
	h := locktest.Acquire(t, a, locktest.Key)
	locktest.WantErr(t, h.Promote(ctx, "c"), locker.ErrNotWaiting)
	gotB := locktest.Async(t, func() *locker.Hold { return locktest.Acquire(t, b, locktest.Key) })
	locktest.UntilQueued(t, a, locktest.Key, 2)
	gotC := locktest.Async(t, func() *locker.Hold { return locktest.Acquire(t, c, locktest.Key) })
	locktest.UntilQueued(t, a, locktest.Key, 3)
	for range 2 { // it may be repeated
		if err := h.Promote(ctx, "c"); err != nil {
			t.Fatal(err)
		}
	}
	locktest.UntilQueued(t, a, locktest.Key, 3) // b has queued again
	locktest.Release(t, h)
	locktest.Release(t, gotC())
	locktest.Release(t, gotB())
	locktest.WantErr(t, h.Promote(ctx, "c"), locker.ErrReleased)
	shared := locktest.Acquire(t, a, locktest.Key, locker.Shared())
	locktest.WantErr(t, shared.Promote(ctx, "c"), locker.ErrInvalidOption)
	locktest.Release(t, shared)
}
