package locker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
)

func TestCompaction(t *testing.T) {
	t.Parallel()
	t.Run("a waiter goes on", aWaiterSurvivesACompaction)
	t.Run("no waiter polls", aCompactionMakesNoWaiterPoll)
}

// etcd is compacted between a waiter's look and its watch, and
// again while its watch is broken.
func aWaiterSurvivesACompaction(t *testing.T) {
	t.Parallel()
	s := etcdtest.StartOwn(t) // other tests want their history
	name, client := s.Prefix(t), s.Client(t)
	prefix := locker.WithPrefix(name)
	net := etcdtest.Proxy(t, s.Endpoint())
	watching := make(chan struct{}, 100)
	a := newLocker(t, faulty(net.Client(t), &faults{
		before: func(_ context.Context, c call) error {
			if c.kind == "watch" {
				compact(t, client, name)
			}
			return nil
		},
		after: func(_ context.Context, c call, err error) error {
			if c.kind == "read" && err == nil {
				watching <- struct{}{} // it looks once the watch is there
			}
			return err
		},
	}), prefix)
	b := newLocker(t, client, prefix)
	holder := locktest.Acquire(t, b, key)
	waiter := acquiring(t.Context(), a, key)
	locktest.Receive(t, watching)
	net.Cut(t)
	compact(t, client, name)
	net.Heal(t)
	locktest.Receive(t, watching)
	wantWaiting(t, waiter)
	locktest.Release(t, holder)
	releaseHeld(t, granted(t, waiter), b)
}

// The recipes watch from a revision, and when it is compacted, they ask again
// and again.
func aCompactionMakesNoWaiterPoll(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	count := &faults{before: func(_ context.Context, c call) error {
		if c.kind == "get" || c.kind == "read" || c.kind == "batch" || c.kind == "watch" {
			asked.Add(1)
		}
		return nil
	}}
	s := etcdtest.StartOwn(t) // other tests want their history
	a, _, client, prefix := newPairOn(t, s.Server)
	root := s.Root(t)
	counted := newLocker(t, faulty(client, count), locker.WithPrefix(prefix))
	for _, opts := range [][]locker.AcquireOption{nil, {locker.Shared()}} {
		w := locktest.Acquire(t, a, key)
		waits := locktest.Async(t, func() *locker.Hold { h, _ := counted.Acquire(context.Background(), key, opts...); return h })
		locktest.UntilQueued(t, a, key, 2)
		before := asked.Load()
		for range 3 {
			compact(t, root, prefix)
		}
		time.Sleep(300 * time.Millisecond) // in which a poll would show
		if n := asked.Load() - before; n > 3 {
			t.Errorf("%d calls while it waits", n)
		}
		locktest.Release(t, w)
		locktest.Release(t, waits())
	}
}

// compact has etcd forget all that is past.
func compact(tb testing.TB, client *clientv3.Client, prefix string) {
	tb.Helper()
	err := etcdtest.AsRoot(client, func(ctx context.Context, root *clientv3.Client) error {
		resp, err := root.Put(ctx, "/"+prefix+"-other", "")
		if err == nil {
			_, err = root.Compact(ctx, resp.Header.Revision)
		}
		return err
	})
	if err != nil {
		tb.Error(err)
	}
}
