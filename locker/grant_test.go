package locker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// An acquire never returns a hold whose lease is over, though it was alive when the lock was granted.
func TestGrantUnderALeaseThatIsOver(t *testing.T) {
	t.Parallel()
	t.Run("gone in etcd", aGrantUnderALeaseThatIsGone)
	t.Run("its deadline is past", aGrantWhoseDeadlineIsPast)
}

// The lease dies, and is known to be dead, while the answer
// that makes its owner the first in the queue is still on the way.
func aGrantUnderALeaseThatIsGone(t *testing.T) {
	for _, kind := range []string{"acquire", "try", "read"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := etcdtest.Start(t)
			client := s.Client(t)
			opts := []locker.Option{locker.WithPrefix(s.Prefix(t)), locker.WithTTL(2 * time.Second)}
			var armed atomic.Bool
			var witness *locker.Hold // under the same lease
			var holder atomic.Pointer[locker.Hold]
			a := newLocker(t, faulty(s.Client(t), &faults{before: func(_ context.Context, c call) error {
				if c.kind == "watch" && holder.Load() != nil {
					h := holder.Swap(nil)
					locktest.Release(t, h) // too early for the watch, so that it looks
				}
				return nil
			}, after: func(_ context.Context, c call, err error) error {
				if c.kind == kind && armed.CompareAndSwap(true, false) {
					if _, err := client.Revoke(context.Background(), leaseOf(client, witness)); err != nil {
						t.Error(err)
					}
					<-witness.Context().Done()
				}
				return err
			}}), opts...)
			b := newLocker(t, s.Client(t), opts...)

			witness = locktest.Acquire(t, a, keyspace.MustParse("witness"))
			var o outcome
			switch kind {
			case "acquire":
				armed.Store(true)
				o = locktest.Receive(t, acquiring(t.Context(), a, key))
			case "try":
				armed.Store(true)
				o.h, o.err = a.TryAcquire(t.Context(), key)
			case "read":
				held := locktest.Acquire(t, b, key)
				armed.Store(true)
				holder.Store(held)
				o = locktest.Receive(t, acquiring(t.Context(), a, key))
			}
			if armed.Load() {
				t.Fatal("the answer was not held back")
			}
			wantLive(t, o, b)
		})
	}
}

// The machine sleeps for longer than the TTL while the answer
// is on the way.
func aGrantWhoseDeadlineIsPast(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix := locker.WithPrefix(s.Prefix(t))
	var slept atomic.Int64
	a := newLocker(t, faulty(s.Client(t), &faults{after: func(_ context.Context, c call, err error) error {
		if c.kind == "acquire" {
			slept.CompareAndSwap(0, int64(time.Hour))
		}
		return err
	}}), prefix)
	locker.SetClocks(a, func() time.Time { return time.Now().Add(time.Duration(slept.Load())) })
	o := locktest.Receive(t, acquiring(t.Context(), a, key))
	if slept.Load() == 0 {
		t.Fatal("the machine did not sleep")
	}
	wantLive(t, o, newLocker(t, s.Client(t), prefix))
}

// wantLive fails the test unless an acquire returned a hold that is alive, as
// it is under another lease.
func wantLive(tb testing.TB, o outcome, rival *locker.Locker) {
	tb.Helper()
	locktest.Must(tb, o.err)
	releaseHeld(tb, o.h, rival)
}

// leaseOf returns the lease of a hold, 0 if its key is gone.
func leaseOf(client *clientv3.Client, h *locker.Hold) clientv3.LeaseID {
	resp, err := client.Get(context.Background(), entryOf(h))
	if err != nil || len(resp.Kvs) == 0 {
		return 0
	}
	return clientv3.LeaseID(resp.Kvs[0].Lease)
}
