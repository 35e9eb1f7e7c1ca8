package locker_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
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

	locktest.Acquire(t, other, keyspace.MustParse("elsewhere"))
	held := locktest.Acquire(t, l, key)
	elsewhere := locktest.Async(t, func() error { _, err := l.Acquire(context.Background(), keyspace.MustParse("elsewhere")); return err })
	here := locktest.Async(t, func() error { _, err := l.Acquire(context.Background(), key); return err })
	inside := make(chan struct{})
	ran := locktest.Async(t, func() error {
		return l.RunInLock(context.Background(), keyspace.MustParse("run"), func(ctx context.Context, _ *locker.Hold) error {
			close(inside)
			<-ctx.Done()
			return context.Cause(ctx)
		})
	})
	locktest.Receive(t, inside)
	locktest.UntilQueued(t, other, keyspace.MustParse("elsewhere"), 2)

	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	locktest.WantErr(t, elsewhere(), locker.ErrClosed)
	locktest.WantErr(t, here(), locker.ErrClosed)
	locktest.WantErr(t, ran(), locker.ErrClosed)
	locktest.WantErr(t, held.Err(), locker.ErrClosed)
	locktest.WantErr(t, held.Release(t.Context()), locker.ErrClosed)
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
	blocker := locktest.Acquire(t, b, keyspace.MustParse("elsewhere"))
	held := locktest.Acquire(t, a, key)
	waiting := locktest.Async(t, func() error { _, err := a.Acquire(context.Background(), blocker.Key()); return err })
	locktest.UntilQueued(t, b, blocker.Key(), 2)

	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	locktest.WantErr(t, a.Shutdown(ctx), context.DeadlineExceeded)
	locktest.WantErr(t, waiting(), locker.ErrClosed)
	if err := held.Err(); err != nil {
		t.Errorf("the hold did not go on: %v", err)
	}
	_, err := a.Acquire(t.Context(), keyspace.MustParse("new"))
	locktest.WantErr(t, err, locker.ErrClosed)
	if q, err := a.Inspect(t.Context(), blocker.Key()); err != nil || len(q.Waiters) != 0 {
		t.Errorf("queue %+v, %v; want no waiter", q, err)
	}

	down := locktest.Async(t, func() error { return a.Shutdown(context.Background()) })
	locktest.Release(t, held)
	if err := down(); err != nil {
		t.Error(err)
	}
	_, err = a.Inspect(t.Context(), key)
	locktest.WantErr(t, err, locker.ErrClosed)
	locktest.Release(t, blocker)
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
	got := locktest.Async(t, func() error { _, err := l.Acquire(context.Background(), key); return err })
	locktest.Receive(t, granted)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	locktest.WantErr(t, got(), locker.ErrClosed)
	if resp, err := client.Leases(t.Context()); err != nil || len(resp.Leases) != 0 {
		t.Errorf("leases after Close: %v, %v", resp, err)
	}
}

func TestCloseFromACallbackDoesNotHang(t *testing.T) {
	t.Parallel()
	_, _, client, prefix := newPair(t)
	var l *locker.Locker
	l = newLocker(t, client, locker.WithPrefix(prefix), locker.WithSuccessCallback(func(string) { _ = l.Close() }))
	done := locktest.Async(t, func() error { _, err := l.Acquire(context.Background(), key); return err })
	done()

	closed := make(chan error, 1)
	var m *locker.Locker
	m = newLocker(t, client, locker.WithPrefix(prefix), locker.WithMonitorTicks(time.Millisecond),
		locker.WithTimeoutCallback(func(string, time.Duration) { closed <- m.Close() }))
	locktest.Acquire(t, m, key, locker.MaxHeld(time.Millisecond))
	if err := locktest.Receive(t, closed); err != nil {
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
						locktest.WantErr(t, err, locker.ErrClosed)
						return
					}
					_ = h.Release(context.Background())
				}
			})
		}
		locktest.Until(t, "it works", func() bool {
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

func TestCloseFreesTheLocksEndsItsGoroutinesAndSparesTheClient(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	client, prefix := s.Client(t), s.Prefix(t)
	b := beside(t, prefix)
	label := pprof.Labels("test", t.Name())
	pprof.Do(t.Context(), label, func(context.Context) { // goroutines inherit it
		l := newLocker(t, client, locker.WithPrefix(prefix))
		for _, ttl := range []int{60, 600} {
			locktest.Acquire(t, l, keyspace.MustParse(fmt.Sprint(ttl)), locker.TTL(time.Duration(ttl)*time.Second))
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
	for _, name := range []string{"60", "600"} {
		locktest.Acquire(t, b, keyspace.MustParse(name))
	}
	if _, err := client.Get(t.Context(), "/"+prefix+"/"); err != nil {
		t.Errorf("the client after Close: %v", err)
	}
	locktest.Until(t, "no goroutine of the Locker is left", func() bool {
		var b bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
			t.Fatal(err)
		}
		for record := range strings.SplitSeq(b.String(), "\n\n") {
			if strings.Contains(record, t.Name()) && strings.Contains(record, "elock/locker.") {
				return false
			}
		}
		return true
	})
}
