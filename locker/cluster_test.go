package locker_test

import (
	"context"
	"testing"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/locker"
)

func TestHoldsAndWaitsSurviveTheLossOfTheLeader(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.StartCluster(t, 3)
	a, b := newLocker(t, cluster.Client(t)), newLocker(t, cluster.Client(t))
	held := acquire(t, a, key)
	got := async(t, func() *locker.Hold { return acquire(t, b, key) })
	untilQueued(t, a, key, 2)

	leader := cluster.Leader(t)
	leader.Kill()
	cluster.Leader(t) // there is another
	if err := held.Err(); err != nil {
		t.Fatal(err)
	}
	until(t, "the lock is released", func() bool { return held.Release(context.Background()) == nil })
	h := got()
	if h.Token() <= held.Token() {
		t.Errorf("token %d after %d", h.Token(), held.Token())
	}
	until(t, "the lock is released", func() bool { return h.Release(context.Background()) == nil })
}
