package locker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// (concurrency 4) An acquire is carried out, but neither its answer nor some of
// the calls that would look for it or undo it get through. The key must not
// stay for as long as its lease is kept alive by another lock.
func TestALostAnswerLeavesNoGhost(t *testing.T) {
	for kind, acquire1 := range map[string]func(*locker.Locker, context.Context) (*locker.Hold, error){
		"acquire": func(l *locker.Locker, ctx context.Context) (*locker.Hold, error) { return l.Acquire(ctx, key) },
		"try":     func(l *locker.Locker, ctx context.Context) (*locker.Hold, error) { return l.TryAcquire(ctx, key) },
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := etcdtest.Start(t)
			prefix := locker.WithPrefix(s.Prefix(t))
			var armed atomic.Bool
			var broken atomic.Int32 // how many calls will still fail
			a := newLocker(t, faulty(s.Client(t), &faults{
				before: func(_ context.Context, c call) error {
					if (c.kind == "get" || c.kind == "read" || c.kind == "delete") && broken.Add(-1) >= 0 {
						return errNet
					}
					return nil
				},
				after: func(_ context.Context, c call, err error) error {
					if c.kind == kind && armed.CompareAndSwap(true, false) {
						broken.Store(3)
						return errNet
					}
					return err
				},
			}), prefix)
			b := newLocker(t, s.Client(t), prefix)

			other := acquire(t, a, keyspace.MustParse("other"))
			armed.Store(true)
			h, err := acquire1(a, t.Context())
			if wantErr(t, err, errNet); h != nil {
				t.Fatal("both a hold and an error")
			}
			acquireSoon(t, b)
			release(t, other) // it was alive all along, and with it the lease
		})
	}
}

// acquireSoon acquires key long before the lease of a ghost could end.
func acquireSoon(tb testing.TB, l *locker.Locker) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	h, err := l.Acquire(ctx, key)
	if err != nil {
		tb.Fatal(err)
	}
	release(tb, h)
}

// (concurrency 4) The write arrives only after the acquire was given up and
// cleaned up after.
func TestAWriteThatArrivesLateLeavesNoGhost(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	opts := []locker.Option{locker.WithPrefix(s.Prefix(t)), locker.WithTTL(2 * time.Second)}
	var armed atomic.Bool
	var late call
	a := newLocker(t, faulty(s.Client(t), &faults{before: func(_ context.Context, c call) error {
		if c.kind == "acquire" && armed.CompareAndSwap(true, false) {
			late = c
			return errNet
		}
		return nil
	}}), opts...)
	b := newLocker(t, s.Client(t), opts...)

	other := acquire(t, a, keyspace.MustParse("other"))
	armed.Store(true)
	_, err := a.Acquire(t.Context(), key)
	wantErr(t, err, errNet)
	must(t, late.again())
	acquireSoon(t, b)
	release(t, other)
}

// (concurrency 11) In each state of an acquire etcd goes out of reach. The call
// then ends soon after its context.
func TestAnAcquireEndsWithItsContextWhenEtcdIsOutOfReach(t *testing.T) {
	tryIt := func(ctx context.Context, l *locker.Locker) error {
		_, err := l.TryAcquire(ctx, key)
		return err
	}
	acquireIt := func(ctx context.Context, l *locker.Locker) error {
		_, err := l.Acquire(ctx, key)
		return err
	}
	for name, c := range map[string]struct {
		leased, queued bool
		acquire        func(context.Context, *locker.Locker) error
	}{
		"try, first of all":     {acquire: tryIt},
		"acquire, first of all": {acquire: acquireIt},
		"try with a lease":      {acquire: tryIt, leased: true},
		"acquire with a lease":  {acquire: acquireIt, leased: true},
		"acquire in the queue":  {acquire: acquireIt, leased: true, queued: true},
	} {
		for fault, breakNet := range map[string]func(*etcdtest.Proxied, testing.TB){
			"refused": (*etcdtest.Proxied).Cut, "silent": (*etcdtest.Proxied).BlackHole,
		} {
			t.Run(name+"/"+fault, func(t *testing.T) {
				t.Parallel()
				s := etcdtest.Start(t)
				opts := []locker.Option{locker.WithPrefix(s.Prefix(t)), locker.WithTTL(time.Minute)}
				net := etcdtest.Proxy(t, s.Endpoints()[0])
				client := net.Client(t)
				a, b := newLocker(t, client, opts...), newLocker(t, s.Client(t), opts...)
				defer func() { // so that Close reaches etcd
					net.Heal(t)
					_, err := client.Get(context.Background(), "elock")
					must(t, err)
				}()

				if c.leased {
					acquire(t, a, keyspace.MustParse("other"))
				}
				ctx, cancel := context.WithCancel(t.Context())
				result := make(chan error, 1)
				if c.queued {
					acquire(t, b, key)
					go func() { result <- c.acquire(ctx, a) }()
					untilQueued(t, b, key, 2)
					breakNet(net, t)
				} else {
					breakNet(net, t)
					go func() { result <- c.acquire(ctx, a) }()
				}
				stop := time.AfterFunc(300*time.Millisecond, cancel)
				defer stop.Stop()
				<-ctx.Done()
				select {
				case err := <-result:
					wantErr(t, err, context.Canceled)
				case <-time.After(3 * time.Second): // it promises half a second
					t.Error("acquire goes on without its context")
				}
			})
		}
	}
}

// (concurrency 11) etcd is compacted between a waiter's look and its watch, and
// again while its watch is broken.
func TestAWaiterSurvivesACompaction(t *testing.T) {
	t.Parallel()
	s := etcdtest.StartOwn(t) // other tests want their history
	prefix := locker.WithPrefix(s.Prefix(t))
	client := s.Client(t)
	compact := func() {
		resp, err := client.Put(context.Background(), "x", "")
		if err == nil {
			_, err = client.Compact(context.Background(), resp.Header.Revision)
		}
		if err != nil {
			t.Error(err)
		}
	}
	net := etcdtest.Proxy(t, s.Endpoint())
	watching := make(chan struct{}, 100)
	a := newLocker(t, faulty(net.Client(t), &faults{
		before: func(_ context.Context, c call) error {
			if c.kind == "watch" {
				compact()
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
	holder := acquire(t, b, key)
	waiter := acquiring(t.Context(), a, key)
	receive(t, watching)
	net.Cut(t)
	compact()
	net.Heal(t)
	receive(t, watching)
	wantWaiting(t, waiter)
	release(t, holder)
	releaseHeld(t, granted(t, waiter), b)
}

// (concurrency 13)
func TestAReleaseUnderACancelledContextFrees(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	h := acquire(t, a, key)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, h.Release(ctx))
	_, err := b.TryAcquire(t.Context(), key)
	must(t, err)
}

// (concurrency 13) A release that was not carried out stays known, and says so
// until it is.
func TestAFailedReleaseIsNotForgotten(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix := locker.WithPrefix(s.Prefix(t))
	var broken atomic.Bool
	a := newLocker(t, faulty(s.Client(t), &faults{before: func(_ context.Context, c call) error {
		if c.kind == "delete" && broken.Load() {
			return errNet
		}
		return nil
	}}), prefix)
	b := newLocker(t, s.Client(t), prefix)
	h := acquire(t, a, key)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	broken.Store(true)
	wantErr(t, h.Release(ctx), errNet)
	if err := h.Release(ctx); err == nil {
		t.Fatal("the retry gave nil, and the key is still there")
	}
	_, err := b.TryAcquire(t.Context(), key)
	wantErr(t, err, locker.ErrLocked)
	broken.Store(false)
	release(t, h)
	_, err = b.TryAcquire(t.Context(), key)
	must(t, err)
}
