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

func TestLeaseIsNotLeft(t *testing.T) {
	t.Parallel()
	t.Run("after a failed grant", aFailedGrantLeavesNoLease)
	t.Run("after it was given up", aLeaseThatWasGivenUpIsRevoked)
}

// An acquire gives a hold or an error, and acquires that fail
// do not pile up leases.
func aFailedGrantLeavesNoLease(t *testing.T) {
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
		if locktest.WantErr(t, err, errNet); h != nil {
			t.Fatal("both a hold and an error")
		}
	}
	wantLeases(t, client, 0)

	// The caller goes away while its lease is on the way.
	broken.Store(false)
	ctx, cancel := context.WithCancel(t.Context())
	gone := acquiring(ctx, a, key)
	locktest.Receive(t, granted)
	cancel()
	if o := locktest.Receive(t, gone); o.h != nil || !errors.Is(o.err, context.Canceled) {
		t.Fatalf("got %v, %v", o.h, o.err)
	}
	close(gate)
	locktest.Release(t, locktest.Acquire(t, a, key))
	wantLeases(t, client, 1) // the same, now in use
	locktest.Must(t, a.Close())
	wantLeases(t, client, 0)
}

// No renewal gets through, and the holds are lost by the
// clock. etcd still has the lease then: Close does not forget it.
func aLeaseThatWasGivenUpIsRevoked(t *testing.T) {
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
	h := locktest.Acquire(t, a, key)
	slept.Store(int64(9 * time.Minute))
	locktest.Receive(t, h.Context().Done())
	locktest.WantLost(t, context.Cause(h.Context()), locker.ReasonDeadline)
	broken.Store(false)
	if locktest.Acquire(t, a, key) == nil {
		t.Fatal("neither a hold nor an error")
	}
	locktest.Must(t, a.Close())
	wantLeases(t, client, 0)
}

func wantLeases(tb testing.TB, client *clientv3.Client, n int) {
	tb.Helper()
	resp, err := client.Leases(context.Background())
	locktest.Must(tb, err)
	if len(resp.Leases) != n {
		tb.Fatalf("etcd has %d leases, want %d", len(resp.Leases), n)
	}
}
