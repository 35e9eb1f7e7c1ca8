package locker_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

func TestCloseEndsWaitsAndHoldsAndLeavesNoKeyAndNoLeaseAndTheClientOpen(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix, client := s.Prefix(t), s.Client(t)
	var id atomic.Int64
	wrapped := faulty(client, &faults{})
	wrapped.Lease = &grantSpy{wrapped.Lease, &id}
	l := newLocker(t, wrapped, locker.WithPrefix(prefix))
	other := newLocker(t, client, locker.WithPrefix(prefix))

	acquire(t, other, keyspace.MustParse("elsewhere"))
	held := acquire(t, l, key)
	if err := l.Lock(t.Context(), "classic", 15); err != nil {
		t.Fatal(err)
	}
	elsewhere := async(t, func() error { _, err := l.Acquire(context.Background(), keyspace.MustParse("elsewhere")); return err })
	here := async(t, func() error { _, err := l.Acquire(context.Background(), key); return err })
	inside := make(chan struct{})
	ran := async(t, func() error {
		return l.RunInLock(context.Background(), keyspace.MustParse("run"), func(ctx context.Context, _ *locker.Hold) error {
			close(inside)
			<-ctx.Done()
			return context.Cause(ctx)
		})
	})
	receive(t, inside)
	untilQueued(t, other, keyspace.MustParse("elsewhere"), 2)

	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	wantErr(t, elsewhere(), locker.ErrClosed)
	wantErr(t, here(), locker.ErrClosed)
	wantErr(t, ran(), locker.ErrClosed)
	wantErr(t, held.Err(), locker.ErrClosed)
	wantErr(t, held.Release(t.Context()), locker.ErrClosed)
	if got := keys(t, client, prefix); len(got) != 1 {
		t.Errorf("keys after Close: %v; want that of the other Locker", got)
	}
	resp, err := client.TimeToLive(t.Context(), clientv3.LeaseID(id.Load()))
	if err != nil || resp.TTL != -1 {
		t.Errorf("lease after Close: %+v, %v", resp, err)
	}
}

func TestShutdownEndsWaitsLetsHoldsFinishAndThenCloses(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	blocker := acquire(t, b, keyspace.MustParse("elsewhere"))
	held := acquire(t, a, key)
	waiting := async(t, func() error { _, err := a.Acquire(context.Background(), blocker.Key()); return err })
	untilQueued(t, b, blocker.Key(), 2)

	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	wantErr(t, a.Shutdown(ctx), context.DeadlineExceeded)
	wantErr(t, waiting(), locker.ErrClosed)
	if err := held.Err(); err != nil {
		t.Errorf("the hold did not go on: %v", err)
	}
	_, err := a.Acquire(t.Context(), keyspace.MustParse("new"))
	wantErr(t, err, locker.ErrClosed)
	if q, err := a.Inspect(t.Context(), blocker.Key()); err != nil || len(q.Waiters) != 0 {
		t.Errorf("queue %+v, %v; want no waiter", q, err)
	}

	down := async(t, func() error { return a.Shutdown(context.Background()) })
	release(t, held)
	if err := down(); err != nil {
		t.Error(err)
	}
	_, err = a.Inspect(t.Context(), key)
	wantErr(t, err, locker.ErrClosed)
	release(t, blocker)
	if got := keys(t, client, prefix); len(got) != 0 {
		t.Errorf("left %v", got)
	}
}

func TestALeaseThatIsGrantedWhileCloseGivesUpIsRevoked(t *testing.T) {
	t.Parallel()
	s := etcdtest.StartOwn(t)
	client := s.Client(t)
	granted := make(chan struct{})
	l := newLocker(t, faulty(client, &faults{after: func(ctx context.Context, c call, err error) error {
		if c.kind == "grant" {
			close(granted)
			<-ctx.Done()
		}
		return err
	}}), locker.WithTTL(time.Hour))
	got := async(t, func() error { _, err := l.Acquire(context.Background(), key); return err })
	receive(t, granted)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	wantErr(t, got(), locker.ErrClosed)
	if resp, err := client.Leases(t.Context()); err != nil || len(resp.Leases) != 0 {
		t.Errorf("leases after Close: %v, %v", resp, err)
	}
}

func TestCloseFromACallbackDoesNotHang(t *testing.T) {
	t.Parallel()
	_, _, client, prefix := newPair(t)
	var l *locker.Locker
	l = newLocker(t, client, locker.WithPrefix(prefix), locker.WithSuccessCallback(func(string) { _ = l.Close() }))
	done := async(t, func() error { _, err := l.Acquire(context.Background(), key); return err })
	done()

	closed := make(chan error, 1)
	var m *locker.Locker
	m = newLocker(t, client, locker.WithPrefix(prefix), locker.WithMonitorTicks(time.Millisecond),
		locker.WithTimeoutCallback(func(string, time.Duration) { closed <- m.Close() }))
	acquire(t, m, key, locker.MaxHeld(time.Millisecond))
	if err := receive(t, closed); err != nil {
		t.Error(err)
	}
}

func TestAnAcquireThatRacesWithCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	client := s.Client(t)
	for range 30 {
		prefix := s.Prefix(t)
		l := newLocker(t, client, locker.WithPrefix(prefix))
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for {
					h, err := l.Acquire(context.Background(), keyspace.MustNew[int]("n").Key(i%4))
					if err != nil {
						wantErr(t, err, locker.ErrClosed)
						return
					}
					_ = h.Release(context.Background())
				}
			})
		}
		until(t, "it works", func() bool {
			q, err := l.Inspect(context.Background(), keyspace.MustNew[int]("n").Key(0))
			return err == nil && len(q.Holders) > 0
		})
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if got := keys(t, client, prefix); len(got) != 0 {
			t.Fatalf("left %v", got)
		}
	}
}
