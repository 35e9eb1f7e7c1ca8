package locker_test

import (
	"context"
	"errors"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/locker"
)

// (concurrency 14) An acquire gives a hold or an error, and acquires that fail
// do not pile up leases.
func TestAFailedGrantLeavesNoLease(t *testing.T) {
	t.Parallel()
	s := etcdtest.StartOwn(t)
	client := s.Client(t)
	var broken atomic.Bool
	granted, gate := make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	a := newLocker(t, faulty(s.Client(t), &faults{
		before: func(_ context.Context, c call) error {
			if c.kind == "grant" && broken.Load() {
				return errNet
			}
			return nil
		},
		after: func(_ context.Context, c call, err error) error {
			if c.kind == "grant" && err == nil && once.CompareAndSwap(false, true) {
				close(granted)
				<-gate
			}
			return err
		},
	}))

	broken.Store(true)
	for range 3 {
		h, err := a.Acquire(t.Context(), key)
		if wantErr(t, err, errNet); h != nil {
			t.Fatal("both a hold and an error")
		}
	}
	wantLeases(t, client, 0)

	// The caller goes away while its lease is on the way.
	broken.Store(false)
	ctx, cancel := context.WithCancel(t.Context())
	gone := acquiring(ctx, a, key)
	receive(t, granted)
	cancel()
	if o := receive(t, gone); o.h != nil || !errors.Is(o.err, context.Canceled) {
		t.Fatalf("got %v, %v", o.h, o.err)
	}
	close(gate)
	release(t, acquire(t, a, key))
	wantLeases(t, client, 1) // the same, now in use
	must(t, a.Close())
	wantLeases(t, client, 0)
}

// (concurrency 14) No renewal gets through, and the holds are lost by the
// clock. etcd still has the lease then: Close does not forget it.
func TestALeaseThatWasGivenUpIsRevoked(t *testing.T) {
	t.Parallel()
	s := etcdtest.StartOwn(t)
	client := s.Client(t)
	var broken atomic.Bool
	var slept atomic.Int64
	a := newLocker(t, faulty(s.Client(t), &faults{before: func(_ context.Context, c call) error {
		if c.kind == "renew" && broken.Load() {
			return errNet
		}
		return nil
	}}), locker.WithTTL(10*time.Minute))
	locker.SetClocks(a, func() time.Time { return time.Now().Add(time.Duration(slept.Load())) })
	broken.Store(true)
	h := acquire(t, a, key)
	slept.Store(int64(9 * time.Minute))
	receive(t, h.Context().Done())
	wantLost(t, context.Cause(h.Context()), locker.Deadline)
	broken.Store(false)
	if acquire(t, a, key) == nil {
		t.Fatal("neither a hold nor an error")
	}
	must(t, a.Close())
	wantLeases(t, client, 0)
}

func wantLeases(tb testing.TB, client *clientv3.Client, n int) {
	tb.Helper()
	resp, err := client.Leases(context.Background())
	must(tb, err)
	if len(resp.Leases) != n {
		tb.Fatalf("etcd has %d leases, want %d", len(resp.Leases), n)
	}
}

// A keySpy is a context that notes for which key it was asked.
type keySpy struct {
	context.Context
	key any
}

func (s *keySpy) Value(key any) any {
	s.key = key
	return nil
}

// (concurrency 14) Both the watch of a waiter and that of a holder tell etcd
// that they are worth nothing without a leader.
func TestEveryWatchRequiresALeader(t *testing.T) {
	t.Parallel()
	spy := &keySpy{Context: context.Background()}
	clientv3.WithRequireLeader(spy)
	want := clientv3.WithRequireLeader(context.Background()).Value(spy.key)
	if want == nil {
		t.Fatal("WithRequireLeader leaves no trace in the context")
	}

	s := etcdtest.Start(t)
	prefix := locker.WithPrefix(s.Prefix(t))
	got := make(chan any, 100)
	spied := func() *locker.Locker {
		return newLocker(t, faulty(s.Client(t), &faults{before: func(ctx context.Context, c call) error {
			if c.kind == "watch" {
				got <- ctx.Value(spy.key)
			}
			return nil
		}}), prefix)
	}
	acquire(t, spied(), key)
	if md := receive(t, got); !reflect.DeepEqual(md, want) {
		t.Errorf("a holder's watch has %v, want %v", md, want)
	}
	waiter := acquiring(t.Context(), spied(), key)
	if md := receive(t, got); !reflect.DeepEqual(md, want) {
		t.Errorf("a waiter's watch has %v, want %v", md, want)
	}
	wantWaiting(t, waiter)
}

// (concurrency 14) A waiter whose member has lost the majority of its cluster
// learns that its watch is dead, asks again, and still ends with its context.
func TestAWaiterOnAnIsolatedMemberIsNotSilent(t *testing.T) {
	t.Parallel()
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
	holder := acquire(t, b, key)
	ctx, cancel := context.WithCancel(t.Context())
	waiter := acquiring(ctx, a, key)
	until(t, "the waiter watches", func() bool { return asked.Load() > 0 })
	before := asked.Load()
	for _, m := range cluster.Members()[1:] {
		m.Pause(t)
	}
	silent := time.Now()
	until(t, "the waiter asks again", func() bool {
		wantWaiting(t, waiter)
		return asked.Load() > before
	})
	if d := time.Since(silent); d > 20*time.Second { // without being told, it asks after 30s
		t.Errorf("the waiter asked again after %v", d)
	}
	cancel()
	select {
	case o := <-waiter:
		wantErr(t, o.err, context.Canceled)
	case <-time.After(3 * time.Second): // it promises half a second
		t.Error("acquire goes on without its context")
	}
	for _, m := range cluster.Members()[1:] {
		m.Resume(t)
	}
	release(t, holder)
	releaseHeld(t, acquire(t, a, key), b)
}
