package locker_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
)

// The lease of a waiter ends, and its entry with it, before its turn.
func TestExpiredWaiter(t *testing.T) {
	t.Parallel()
	t.Run("queues again", anExpiredWaiterQueuesAgain)
	t.Run("lets the next one hold", anExpiredWaiterLetsTheNextHold)
	t.Run("is no second writer", anExpiredWaiterIsNoSecondWriter)
}

// The waiter's lease dies long before its turn.
func anExpiredWaiterQueuesAgain(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t, locker.WithTTL(2*time.Second))
	holder := locktest.Acquire(t, b, key)
	waiter := acquiring(t.Context(), a, key)
	locktest.UntilQueued(t, b, key, 2)
	old := queue(t, client, prefix)[1]
	_, err := client.Revoke(t.Context(), clientv3.LeaseID(old.Lease))
	locktest.Must(t, err)
	locktest.Until(t, "the waiter queues again, under another lease", func() bool {
		wantWaiting(t, waiter)
		q := queue(t, client, prefix)
		return len(q) == 2 && q[1].Lease != old.Lease
	})
	locktest.Must(t, holder.Err())
	locktest.Release(t, holder)
	releaseHeld(t, granted(t, waiter), b)
}

// The waiter's lease ends unseen, since nothing renews it, and
// its entry with it. Its turn then never comes by that entry.
func anExpiredWaiterLetsTheNextHold(t *testing.T) {
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
	holder := locktest.Acquire(t, b, key)
	waiter := acquiring(t.Context(), a, key)
	locktest.UntilQueued(t, b, key, 2)
	next := acquiring(t.Context(), c, key)
	locktest.UntilQueued(t, b, key, 3)
	old := queue(t, client, name)[1]
	_, err := client.Revoke(t.Context(), clientv3.LeaseID(old.Lease))
	locktest.Must(t, err)
	locktest.UntilQueued(t, b, key, 2)
	locktest.Release(t, holder)

	h := granted(t, next)
	locktest.Until(t, "the expired waiter queues again", func() bool {
		wantWaiting(t, waiter)
		return len(queue(t, client, name)) == 2
	})
	releaseHeld(t, h, b)
	granted(t, waiter)
}

// The RWMutex of etcd's recipes lets a waiter acquire whose lease has expired,
// so that two write (etcd#16221).
func anExpiredWaiterIsNoSecondWriter(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	c := newLocker(t, client, locker.WithPrefix(prefix))
	for range 3 {
		r := locktest.Acquire(t, a, key, locker.Shared())
		wait := func(l *locker.Locker, n int) func() *locker.Hold {
			h := locktest.Async(t, func() *locker.Hold { h, _ := l.Acquire(context.Background(), key); return h })
			locktest.UntilQueued(t, a, key, n)
			return h
		}
		expired, other := wait(b, 2), wait(c, 3)
		entries, err := client.Get(t.Context(), key.Path(prefix), clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
		if err != nil {
			t.Fatal(err)
		}
		lease, err := strconv.ParseInt(strings.TrimPrefix(string(entries.Kvs[1].Key), key.Path(prefix)), 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Revoke(t.Context(), clientv3.LeaseID(lease)); err != nil {
			t.Fatal(err)
		}
		locktest.Until(t, "it queues again, behind the other", func() bool {
			now, err := client.Get(t.Context(), key.Path(prefix), clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
			return err == nil && len(now.Kvs) == 3 && string(now.Kvs[1].Key) == string(entries.Kvs[2].Key)
		})
		locktest.Release(t, r)
		w := other()
		locktest.WantErr(t, w.Err(), nil)
		if _, err := b.TryAcquire(t.Context(), key); err == nil {
			t.Fatal("two write")
		}
		locktest.Release(t, w)
		locktest.Release(t, expired())
	}
}
