package locker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
)

func TestHoldsAndWaitsSurviveTheLossOfTheLeader(t *testing.T) {
	locktest.Heavy(t)
	cluster := etcdtest.StartCluster(t, 3)
	a, b := newLocker(t, cluster.Client(t)), newLocker(t, cluster.Client(t))
	held := locktest.Acquire(t, a, key)
	got := locktest.Async(t, func() *locker.Hold { return locktest.Acquire(t, b, key) })
	locktest.UntilQueued(t, a, key, 2)

	leader := cluster.Leader(t)
	leader.Kill()
	cluster.Leader(t) // there is another
	if err := held.Err(); err != nil {
		t.Fatal(err)
	}
	locktest.Until(t, "the lock is released", func() bool { return held.Release(context.Background()) == nil })
	h := got()
	if h.Token() <= held.Token() {
		t.Errorf("token %d after %d", h.Token(), held.Token())
	}
	locktest.Until(t, "the lock is released", func() bool { return h.Release(context.Background()) == nil })
}

// A waiter whose member has lost the majority of its cluster
// learns that its watch is dead, asks again, and still ends with its context.
func TestAWaiterOnAnIsolatedMemberIsNotSilent(t *testing.T) {
	locktest.Heavy(t)
	cluster := etcdtest.StartCluster(t, 3)
	opts := []locker.Option{locker.WithPrefix(cluster.Prefix(t)), locker.WithTTL(time.Minute)}
	alone := cluster.Members()[0]
	var asked atomic.Int64
	a := newLocker(t, faulty(alone.Client(t), &faults{before: func(_ context.Context, c call) error {
		if c.kind == "read" || c.kind == "watch" {
			asked.Add(1)
		}
		return nil
	}}), opts...)
	b := newLocker(t, cluster.Client(t), opts...)
	holder := locktest.Acquire(t, b, key)
	ctx, cancel := context.WithCancel(t.Context())
	waiter := acquiring(ctx, a, key)
	locktest.Until(t, "the waiter watches", func() bool { return asked.Load() > 0 })
	before := asked.Load()
	for _, m := range cluster.Members()[1:] {
		m.Pause(t)
	}
	silent := time.Now()
	locktest.Until(t, "the waiter asks again", func() bool {
		wantWaiting(t, waiter)
		return asked.Load() > before
	})
	if d := time.Since(silent); d > 20*time.Second { // without being told, it asks after 30s
		t.Errorf("the waiter asked again after %v", d)
	}
	cancel()
	select {
	case o := <-waiter:
		locktest.WantErr(t, o.err, context.Canceled)
	case <-time.After(3 * time.Second): // it promises half a second
		t.Error("acquire goes on without its context")
	}
	for _, m := range cluster.Members()[1:] {
		m.Resume(t)
	}
	locktest.Release(t, holder)
	releaseHeld(t, locktest.Acquire(t, a, key), b)
}
