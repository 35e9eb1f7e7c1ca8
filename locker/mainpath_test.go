package locker_test

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/etcdtest/mode"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
)

const (
	// swift is far beyond the latency of a watch, and below the time in which a
	// hold or a waiter looks by itself.
	swift = time.Second
	// old is the age of a hold from which it is told within that latency.
	old = 2 * time.Second
)

// A watch of the user's keeps the client's stream of watches open, over the
// life of the token that it was opened with.
func TestTheMainPathHoldsBesideAWatchOfTheUsers(t *testing.T) {
	t.Parallel()
	for name, start := range etcdtest.Ways() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			way := start(t)
			open := way.Client
			way.Client = func(tb testing.TB) *clientv3.Client {
				c := open(tb)
				c.Watch(clientv3.WithRequireLeader(t.Context()), "/"+way.Prefix+"-other")
				return c
			}
			mainPath(t, way)
		})
	}
}

func TestTheMainPathHoldsOnEachWayToEtcd(t *testing.T) {
	t.Parallel()
	for name, start := range etcdtest.Ways() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mainPath(t, start(t))
		})
	}
}

// Through a gRPC proxy, renewals come up to half a second late. With a TTL of two seconds that leaves too little for a test on a
// busy machine.
func TestTheMainPathHoldsThroughAGRPCProxyWithAShortTTL(t *testing.T) {
	t.Parallel()
	if mode.Auth() {
		t.Skip("etcd's gRPC proxy renews leases without the client's token, so not at all with auth")
	}
	way := etcdtest.Ways()["gRPC proxy"](t)
	way.Midway = func(testing.TB, ...*clientv3.Client) {
		time.Sleep(5 * time.Second) // several renewals, in which no hold may be lost
	}
	mainPath(t, way, locker.WithTTL(4*time.Second))
}

// mainPath acquires, waits, hands over, loses and releases.
func mainPath(t *testing.T, way *etcdtest.Way, opts ...locker.Option) {
	t.Helper()
	opts = append(opts, locker.WithPrefix(way.Prefix))
	clients := []*clientv3.Client{way.Client(t), way.Client(t)}
	a, b := newLocker(t, clients[0], opts...), newLocker(t, clients[1], opts...)
	beside := way.Client(t)

	held := locktest.Acquire(t, a, key)
	got := locktest.Async(t, func() *locker.Hold { return locktest.Acquire(t, b, key) })
	locktest.UntilQueued(t, a, key, 2)
	way.Midway(t, clients...)
	locktest.WantErr(t, held.Err(), nil)
	first := held.Token()
	held = handedOver(t, held, got)
	if held.Token() <= first {
		t.Errorf("token %d after %d", held.Token(), first)
	}

	got = locktest.Async(t, func() *locker.Hold { return locktest.Acquire(t, a, key) }) // with streams that have lived through it
	locktest.UntilQueued(t, b, key, 2)
	held = handedOver(t, held, got)

	way.Midway(t, clients...)
	time.Sleep(old)
	locktest.WantErr(t, held.Err(), nil)
	if _, err := beside.Delete(t.Context(), key.Path(way.Prefix), clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	locktest.Receive(t, held.Context().Done())
	if d := time.Since(began); d > slower*swift {
		t.Errorf("the holder knows of its loss after %v", d)
	}
	locktest.WantLost(t, held.Err(), locker.ReasonKeyDeleted)
	locktest.WantErr(t, held.Release(context.Background()), locker.ErrLost)

	locktest.Release(t, locktest.Acquire(t, b, key))
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if left := keys(t, beside, way.Prefix); len(left) != 0 {
		t.Errorf("keys left: %q", left)
	}
}

// handedOver releases a lock for a waiter.
func handedOver(t *testing.T, h *locker.Hold, next func() *locker.Hold) *locker.Hold {
	t.Helper()
	locktest.Release(t, h)
	began := time.Now()
	held := next()
	if d := time.Since(began); d > slower*swift {
		t.Errorf("the waiter got the lock after %v", d)
	}
	return held
}
