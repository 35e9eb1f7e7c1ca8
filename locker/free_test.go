package locker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
)

func TestSeveralFreeLocksAreAcquiredInOneTransaction(t *testing.T) {
	t.Parallel()
	_, b, client, prefix := newPair(t)
	var n counter
	a := newLocker(t, faulty(client, &faults{after: n.after}), locker.WithPrefix(prefix))
	locktest.Release(t, acquireAll(t, a, several...)) // has a lease now
	began, wrote := n.calls.Load(), n.writes.Load()
	h := acquireAll(t, a, several...)
	if calls, writes := n.calls.Load()-began, n.writes.Load()-wrote; calls != 1 || writes != 1 {
		t.Errorf("%d calls, %d of them writes, want one", calls, writes)
	}
	wantHeldAs(t, b, true)
	locktest.Release(t, h)
	wantHeldAs(t, b, false)
}

func TestSeveralLocksOfWhichOneIsHeldAreAcquiredWhenItIsFree(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	for _, holder := range []*locker.Locker{a, b} {
		held := locktest.Acquire(t, holder, several[1])
		got := locktest.Async(t, func() *locker.HoldSet { return acquireAll(t, a, several...) })
		if holder == b {
			locktest.UntilQueued(t, b, several[1], 2)
		}
		locktest.Release(t, held)
		h := got()
		if held.Token() >= h.Tokens()[several[1]] {
			t.Errorf("token %d after %d", h.Tokens()[several[1]], held.Token())
		}
		locktest.Release(t, h)
	}
}

func TestALostAnswerToAnAcquireOfSeveralLeavesNoneBehind(t *testing.T) {
	t.Parallel()
	for way, lose := range map[string]func(ctx context.Context) error{
		"as an error":  func(context.Context) error { return errAnswer },
		"by no answer": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			s := etcdtest.Start(t)
			prefix, client := s.Prefix(t), s.Client(t)
			var armed, lost atomic.Bool
			f := &faults{after: func(ctx context.Context, c call, err error) error {
				if c.kind == "batch" && err == nil && armed.Load() && lost.CompareAndSwap(false, true) {
					return lose(ctx)
				}
				return err
			}}
			a := newLocker(t, faulty(client, f), locker.WithPrefix(prefix), locker.WithTTL(time.Hour))
			b := newLocker(t, s.Client(t), locker.WithPrefix(prefix))
			locktest.Release(t, locktest.Acquire(t, a, neighbour)) // there is a lease
			armed.Store(true)
			ctx := t.Context()
			if way != "as an error" {
				ctx = brief(t)
			}
			h, err := a.AcquireAll(ctx, several)
			if !lost.Load() {
				t.Fatal("no answer was lost")
			}
			if way == "as an error" { // there was time to acquire them one by one
				locktest.WantErr(t, err, nil)
				wantHeldAs(t, b, true)
				locktest.Release(t, h)
			} else {
				locktest.WantErr(t, err, context.DeadlineExceeded)
			}
			locktest.Release(t, acquireAll(t, b, several...)) // though the lease lives for an hour
			locktest.Release(t, acquireAll(t, a, several...))
		})
	}
}

func TestAnAcquireOfSeveralThatCommitsLateIsRemoved(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix, client := s.Prefix(t), s.Client(t)
	f, gate := lateOnce("batch")
	a := newLocker(t, faulty(client, f), locker.WithPrefix(prefix), locker.WithTTL(2*time.Second))
	b := newLocker(t, s.Client(t), locker.WithPrefix(prefix))
	locktest.Release(t, acquireAll(t, a, several...)) // one by one
	events := client.Watch(t.Context(), several[2].Path(prefix), clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	locktest.Receive(t, events)
	close(gate)
	if ev := locktest.Receive(t, events).Events[0]; !ev.IsCreate() {
		t.Fatalf("got %v, want the late write", ev)
	}
	locktest.Release(t, acquireAll(t, b, several...)) // behind the late writes
}

func TestAnAcquireOfSeveralEndsWithItsContextAndWithItsLocker(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix := s.Prefix(t)
	ctx, cancel := context.WithCancel(t.Context())
	f := &faults{after: func(_ context.Context, c call, err error) error {
		if c.kind == "batch" {
			cancel() // together with the grant
		}
		return err
	}}
	a := newLocker(t, faulty(s.Client(t), f), locker.WithPrefix(prefix))
	b := newLocker(t, s.Client(t), locker.WithPrefix(prefix))
	_, err := a.AcquireAll(ctx, several)
	locktest.WantErr(t, err, context.Canceled)
	wantHeldAs(t, b, false)
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if _, err := a.AcquireAll(t.Context(), several); !errors.Is(err, locker.ErrClosed) {
		t.Errorf("got %v", err)
	}
}
