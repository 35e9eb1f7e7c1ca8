package locker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

func TestLocksOfOneTTLShareALeaseAndAnIdleLeaseIsRevoked(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	client := s.Client(t)
	var grants, revokes atomic.Int64
	f := &faults{after: func(_ context.Context, c call, err error) error {
		switch c.kind {
		case "grant":
			grants.Add(1)
		case "revoke":
			revokes.Add(1)
		}
		return err
	}}
	l := newLocker(t, faulty(client, f), locker.WithPrefix(s.Prefix(t)))
	space := keyspace.MustNew[int]("n")
	var held []*locker.Hold
	for i := range 20 {
		held = append(held, locktest.Acquire(t, l, space.Key(i), locker.TTL(time.Duration(2+i%2)*time.Second)))
	}
	if n := grants.Load(); n != 2 {
		t.Errorf("%d leases for 2 TTLs", n)
	}
	for _, h := range held {
		locktest.Release(t, h)
	}
	locktest.Until(t, "both are revoked", func() bool { return revokes.Load() == 2 })
	locktest.Release(t, locktest.Acquire(t, l, space.Key(0), locker.TTL(2*time.Second)))
	if n := grants.Load(); n != 3 {
		t.Errorf("%d grants, want a new one", n)
	}
}

func TestALockOutlivesManyTTLsWhileItsLeaseIsRenewed(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t, locker.WithTTL(2*time.Second))
	h := locktest.Acquire(t, a, key)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err := b.Acquire(ctx, key)
	locktest.WantErr(t, err, context.DeadlineExceeded)
	if err := h.Err(); err != nil {
		t.Error(err)
	}
	if d := h.Remaining(); d <= 0 || d > 2*time.Second {
		t.Errorf("remaining %v", d)
	}
	locktest.Release(t, h)
	if d := h.Remaining(); d != 0 {
		t.Errorf("remaining %v after release", d)
	}
}

func TestAHoldEndsWhenTheWallClockPassesItsDeadlineWhileTheMachineSlept(t *testing.T) {
	t.Parallel()
	a, _, _, _ := newPair(t, locker.WithTTL(time.Minute))
	var slept atomic.Int64
	locker.SetClocks(a, func() time.Time { return time.Now().Add(time.Duration(slept.Load())) })
	h := locktest.Acquire(t, a, key)
	slept.Store(int64(50 * time.Second)) // the deadline is at 54s
	if err := h.Err(); err != nil {
		t.Fatal(err)
	}
	slept.Store(int64(55 * time.Second))
	locktest.WantLost(t, h.Err(), locker.ReasonDeadline) // at once
	locktest.Receive(t, h.Context().Done())              // and within a second
	locktest.WantLost(t, context.Cause(h.Context()), locker.ReasonDeadline)

	// The lock can be taken again, behind what etcd still knows.
	locktest.Release(t, locktest.Acquire(t, a, key))
}

func TestAHoldSurvivesAWallClockThatIsSetBack(t *testing.T) {
	t.Parallel()
	a, _, _, _ := newPair(t, locker.WithTTL(2*time.Second))
	var back atomic.Int64
	locker.SetClocks(a, func() time.Time { return time.Now().Add(-time.Duration(back.Load())) })
	h := locktest.Acquire(t, a, key)
	back.Store(int64(time.Hour))
	deadline := time.Now().Add(3 * time.Second)
	locktest.Until(t, "its first lease time has passed", func() bool { return time.Now().After(deadline) })
	if err := h.Err(); err != nil {
		t.Error(err)
	}
	if d := h.Remaining(); d > 2*time.Second {
		t.Errorf("remaining %v: the monotonic clock is not heard", d)
	}
	locktest.Release(t, h)
}

func TestALeaseThatEtcdForgotEndsItsHoldsAndTheLockCanBeTakenAgain(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t, locker.WithTTL(6*time.Second))
	h, other := locktest.Acquire(t, a, key), locktest.Acquire(t, a, keyspace.MustParse("other"))
	resp, err := client.Get(t.Context(), key.Path(prefix), clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Revoke(t.Context(), clientv3.LeaseID(resp.Kvs[0].Lease)); err != nil {
		t.Fatal(err)
	}
	locktest.Receive(t, h.Context().Done())
	locktest.Receive(t, other.Context().Done())
	locktest.WantLost(t, context.Cause(h.Context()), locker.ReasonLeaseExpired)
	locktest.WantLost(t, other.Err(), locker.ReasonLeaseExpired)
	locktest.WantLost(t, h.Release(t.Context()), locker.ReasonLeaseExpired)
	again, err := a.TryAcquire(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	locktest.Release(t, again)
	locktest.Release(t, locktest.Acquire(t, b, key))
}

func TestAnAcquireUnderALeaseThatEtcdForgotGetsANewOne(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	client := s.Client(t)
	var id atomic.Int64
	wrapped := faulty(client, &faults{})
	wrapped.Lease = &grantSpy{wrapped.Lease, &id}
	l := newLocker(t, wrapped, locker.WithPrefix(s.Prefix(t)))
	locktest.Release(t, locktest.Acquire(t, l, key))
	if _, err := client.Revoke(t.Context(), clientv3.LeaseID(id.Load())); err != nil {
		t.Fatal(err)
	}
	locktest.Release(t, locktest.Acquire(t, l, key))
	if _, err := client.Revoke(t.Context(), clientv3.LeaseID(id.Load())); err != nil {
		t.Fatal(err)
	}
	h, err := l.TryAcquire(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	locktest.Release(t, h)
}

// grantSpy remembers the last lease granted.
type grantSpy struct {
	clientv3.Lease
	id *atomic.Int64
}

func (l *grantSpy) Grant(ctx context.Context, ttl int64) (*clientv3.LeaseGrantResponse, error) {
	resp, err := l.Lease.Grant(ctx, ttl)
	if err == nil {
		l.id.Store(int64(resp.ID))
	}
	return resp, err
}

func TestAnErrorOfEtcdIsReturnedAndCanBeMatched(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	client := s.Client(t)
	for _, kind := range []string{"grant", "acquire", "read"} {
		f := &faults{before: func(_ context.Context, c call) error {
			if c.kind == kind {
				return rpctypes.ErrPermissionDenied
			}
			return nil
		}}
		l := newLocker(t, faulty(client, f), locker.WithPrefix(s.Prefix(t)))
		var err error
		if kind == "read" {
			_, err = l.Inspect(t.Context(), key)
		} else {
			_, err = l.Acquire(t.Context(), key)
		}
		locktest.WantErr(t, err, rpctypes.ErrPermissionDenied)
		var typed *locker.Error
		if !errors.As(err, &typed) || typed.Key != key.String() {
			t.Errorf("got %#v", err)
		}
	}
}

func TestATTLBelowEtcdsMinimumIsCountedAsGranted(t *testing.T) {
	t.Parallel()
	a, _, _, _ := newPair(t)
	h := locktest.Acquire(t, a, key, locker.TTL(time.Millisecond)) // 1s on the wire, 2s granted by default
	if d := h.Remaining(); d < 500*time.Millisecond {
		t.Errorf("remaining %v", d)
	}
	locktest.Release(t, h)
}
