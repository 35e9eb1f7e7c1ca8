package locker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// (concurrency 5) The waiter's lease dies long before its turn.
func TestAWaiterNoticesThatItsLeaseIsGone(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t, locker.WithTTL(2*time.Second))
	holder := acquire(t, b, key)
	waiter := acquiring(t.Context(), a, key)
	untilQueued(t, b, key, 2)
	old := queue(t, client, prefix)[1]
	_, err := client.Revoke(t.Context(), clientv3.LeaseID(old.Lease))
	must(t, err)
	until(t, "the waiter queues again, under another lease", func() bool {
		wantWaiting(t, waiter)
		q := queue(t, client, prefix)
		return len(q) == 2 && q[1].Lease != old.Lease
	})
	must(t, holder.Err())
	release(t, holder)
	releaseHeld(t, granted(t, waiter), b)
}

// (concurrency 6)
func TestAHolderIsToldThatItsKeyIsDeleted(t *testing.T) {
	t.Parallel()
	a, _, client, _ := newPair(t)
	h := acquire(t, a, key)
	_, err := client.Delete(t.Context(), entryOf(h))
	must(t, err)
	receive(t, h.Context().Done())
	wantLost(t, context.Cause(h.Context()), locker.KeyDeleted)
	wantLost(t, h.Err(), locker.KeyDeleted)
	wantLost(t, h.Release(t.Context()), locker.KeyDeleted)
}

// (concurrency 6) The release comes before anybody could have told.
func TestAReleaseThatDeletedNothingIsAnError(t *testing.T) {
	t.Parallel()
	a, b, client, _ := newPair(t)
	h := acquire(t, a, key)
	_, err := client.Delete(t.Context(), entryOf(h))
	must(t, err)
	rival := acquire(t, b, key)
	wantLost(t, h.Release(t.Context()), locker.KeyDeleted)
	releaseHeld(t, rival, a)
}

// (concurrency 9) The lease dies, and is known to be dead, while the answer
// that makes its owner the first in the queue is still on the way.
func TestAnAcquireNeverReturnsAHoldWhoseLeaseIsGone(t *testing.T) {
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
					release(t, h) // too early for the watch, so that it looks
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

			witness = acquire(t, a, keyspace.MustParse("witness"))
			var o outcome
			switch kind {
			case "acquire":
				armed.Store(true)
				o = receive(t, acquiring(t.Context(), a, key))
			case "try":
				armed.Store(true)
				o.h, o.err = a.TryAcquire(t.Context(), key)
			case "read":
				held := acquire(t, b, key)
				armed.Store(true)
				holder.Store(held)
				o = receive(t, acquiring(t.Context(), a, key))
			}
			if armed.Load() {
				t.Fatal("the answer was not held back")
			}
			wantLive(t, o, b)
		})
	}
}

// wantLive fails the test unless an acquire returned a hold that is alive, as
// it is under another lease.
func wantLive(tb testing.TB, o outcome, rival *locker.Locker) {
	tb.Helper()
	must(tb, o.err)
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

// (concurrency 9) The machine sleeps for longer than the TTL while the answer
// is on the way.
func TestAnAcquireNeverReturnsAHoldWhoseDeadlineIsPast(t *testing.T) {
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
	o := receive(t, acquiring(t.Context(), a, key))
	if slept.Load() == 0 {
		t.Fatal("the machine did not sleep")
	}
	wantLive(t, o, newLocker(t, s.Client(t), prefix))
}

// (concurrency 12) The waiter's lease ends unseen, since nothing renews it, and
// its entry with it. Its turn then never comes by that entry.
func TestAnExpiredWaiterNeverHolds(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	name := s.Prefix(t)
	client, prefix := s.Client(t), locker.WithPrefix(name)
	a := newLocker(t, faulty(s.Client(t), &faults{before: func(_ context.Context, c call) error {
		if c.kind == "renew" {
			return errNet
		}
		return nil
	}}), prefix)
	b, c := newLocker(t, s.Client(t), prefix), newLocker(t, client, prefix)
	holder := acquire(t, b, key)
	waiter := acquiring(t.Context(), a, key)
	untilQueued(t, b, key, 2)
	next := acquiring(t.Context(), c, key)
	untilQueued(t, b, key, 3)
	old := queue(t, client, name)[1]
	_, err := client.Revoke(t.Context(), clientv3.LeaseID(old.Lease))
	must(t, err)
	untilQueued(t, b, key, 2)
	release(t, holder)

	h := granted(t, next)
	until(t, "the expired waiter queues again", func() bool {
		wantWaiting(t, waiter)
		return len(queue(t, client, name)) == 2
	})
	releaseHeld(t, h, b)
	granted(t, waiter)
}
