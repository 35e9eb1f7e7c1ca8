package locker_test

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/locker"
)

// The RWMutex of etcd's recipes lets a waiter acquire whose lease has expired,
// so that two write (etcd#16221).
func TestAnExpiredWaiterNeverBecomesASecondWriter(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	c := newLocker(t, client, locker.WithPrefix(prefix))
	for range 3 {
		r := acquire(t, a, key, locker.Shared())
		wait := func(l *locker.Locker, n int) func() *locker.Hold {
			h := async(t, func() *locker.Hold { h, _ := l.Acquire(context.Background(), key); return h })
			untilQueued(t, a, key, n)
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
		until(t, "it queues again, behind the other", func() bool {
			now, err := client.Get(t.Context(), key.Path(prefix), clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
			return err == nil && len(now.Kvs) == 3 && string(now.Kvs[1].Key) == string(entries.Kvs[2].Key)
		})
		release(t, r)
		w := other()
		wantErr(t, w.Err(), nil)
		if _, err := b.TryAcquire(t.Context(), key); err == nil {
			t.Fatal("two write")
		}
		release(t, w)
		release(t, expired())
	}
}

// The recipes watch from a revision, and when it is compacted, they ask again
// and again.
func TestACompactionMakesNoWaiterPoll(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	count := &faults{before: func(_ context.Context, c call) error {
		if c.kind == "get" || c.kind == "read" || c.kind == "batch" || c.kind == "watch" {
			asked.Add(1)
		}
		return nil
	}}
	a, _, client, prefix := newPairOn(t, etcdtest.StartOwn(t).Server) // other tests want their history
	counted := newLocker(t, faulty(client, count), locker.WithPrefix(prefix))
	for _, opts := range [][]locker.AcquireOption{nil, {locker.Shared()}} {
		w := acquire(t, a, key)
		waits := async(t, func() *locker.Hold { h, _ := counted.Acquire(context.Background(), key, opts...); return h })
		untilQueued(t, a, key, 2)
		before := asked.Load()
		for range 3 {
			compact(t, client, prefix)
		}
		time.Sleep(300 * time.Millisecond) // in which a poll would show
		if n := asked.Load() - before; n > 3 {
			t.Errorf("%d calls while it waits", n)
		}
		release(t, w)
		release(t, waits())
	}
}

// compact has etcd forget all that is past.
func compact(tb testing.TB, client *clientv3.Client, prefix string) {
	tb.Helper()
	resp, err := client.Put(context.Background(), "/"+prefix+"-other", "")
	if err == nil {
		_, err = client.Compact(context.Background(), resp.Header.Revision)
	}
	if err != nil {
		tb.Error(err)
	}
}
