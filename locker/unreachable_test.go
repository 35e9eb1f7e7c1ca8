package locker_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

func TestWithoutEtcdEveryCallReturnsSoonAfterItsContext(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"cut", "black hole", "paused"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			member := etcdtest.StartOwn(t)
			proxy := etcdtest.Proxy(t, member.Endpoint())
			// Leases of an hour: nothing here ends because a lease does.
			l, err := locker.New(proxy.Client(t), locker.WithTTL(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			other := newLocker(t, member.Client(t))

			held := locktest.Acquire(t, l, keyspace.MustParse("held"))
			waitedFor := keyspace.MustParse("waited for")
			locktest.Acquire(t, other, waitedFor)
			ended := locktest.Async(t, func() error {
				_, err := l.Acquire(brief(t), waitedFor)
				return err
			})
			locktest.UntilQueued(t, other, waitedFor, 2)

			switch way {
			case "cut":
				proxy.Cut(t)
			case "black hole":
				proxy.BlackHole(t)
			case "paused":
				member.Pause(t)
			}
			k := keyspace.MustParse("new")
			calls := map[string]func(ctx context.Context) error{
				"Acquire":              func(ctx context.Context) error { _, err := l.Acquire(ctx, k); return err },
				"Acquire, new lease":   func(ctx context.Context) error { _, err := l.Acquire(ctx, k, locker.TTL(time.Minute)); return err },
				"TryAcquire":           func(ctx context.Context) error { _, err := l.TryAcquire(ctx, keyspace.MustParse("try")); return err },
				"RunInLock":            func(ctx context.Context) error { return l.RunInLock(ctx, k, nothing) },
				"Release":              held.Release,
				"Inspect":              func(ctx context.Context) error { _, err := l.Inspect(ctx, k); return err },
				"List":                 func(ctx context.Context) error { return listError(l.List(ctx, "")) },
				"Blocking":             func(ctx context.Context) error { return locktest.Second(l.Blocking(ctx, k)) },
				"Evict":                func(ctx context.Context) error { _, err := l.Evict(ctx, k); return err },
				"Acquire that waited":  func(context.Context) error { return ended() },
				"Acquire, ctx is done": func(context.Context) error { _, err := l.Acquire(canceled(), k); return err },
			}
			var wg sync.WaitGroup
			for name, call := range calls {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
					defer cancel()
					began := time.Now()
					err := call(ctx)
					if err == nil {
						t.Errorf("%s: no error", name)
					}
					var typed *locker.Error
					if !errors.As(err, &typed) {
						t.Errorf("%s: %T is not an *Error", name, err)
					}
					if took := time.Since(began); took > 3*time.Second {
						t.Errorf("%s took %v: %v", name, took, err)
					}
				})
			}
			wg.Wait()
			if held.Err() == nil {
				t.Error("a released hold says that it is held")
			}

			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			began := time.Now()
			locktest.WantErr(t, l.Shutdown(ctx), context.DeadlineExceeded)
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("Shutdown took %v", took)
			}
			began = time.Now()
			if err := l.Close(); err == nil {
				t.Error("Close left leases behind and does not say so")
			}
			if took := time.Since(began); took > 8*time.Second {
				t.Errorf("Close took %v", took)
			}

			if way == "paused" {
				member.Resume(t)
			}
			proxy.Heal(t)
			locktest.Until(t, "Close revokes what it left", func() bool { return l.Close() == nil })
		})
	}
}

// The error names the endpoints that gave no lease.
func TestAnAcquireThatGetsNoLeaseNamesTheEndpoints(t *testing.T) {
	t.Parallel()
	proxy := etcdtest.Proxy(t, etcdtest.Start(t).Endpoints()[0])
	l, err := locker.New(proxy.Client(t)) // which logs in, with auth
	locktest.Must(t, err)
	proxy.Cut(t)
	defer l.Close()
	for name, ctx := range map[string]func() context.Context{
		"its context ends":  func() context.Context { return brief(t) },
		"the patience ends": t.Context,
	} {
		_, err := l.Acquire(ctx(), keyspace.MustParse(name))
		locktest.WantErr(t, err, locker.ErrUnavailable)
		if !strings.Contains(err.Error(), proxy.Endpoint()) {
			t.Errorf("%s: got %v, want %q in it", name, err, proxy.Endpoint())
		}
	}
}

func nothing(context.Context, *locker.Hold) error { return nil }

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// A call that hangs must not hold up other keys of the same Locker.
func TestACallThatHangsBlocksNoOtherKey(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	for _, kind := range []string{"acquire", "delete", "watch"} {
		t.Run(kind, func(t *testing.T) {
			stuck := make(chan struct{})
			var first sync.Once
			f := &faults{before: func(ctx context.Context, c call) error {
				if c.kind == kind {
					hung := false
					first.Do(func() { hung = true })
					if hung {
						close(stuck)
						<-ctx.Done()
						return ctx.Err()
					}
				}
				return nil
			}}
			prefix := s.Prefix(t)
			l := newLocker(t, faulty(s.Client(t), f), locker.WithPrefix(prefix))
			other := newLocker(t, s.Client(t), locker.WithPrefix(prefix))
			if kind == "watch" {
				locktest.Acquire(t, other, key)
			}
			ctx, cancel := context.WithCancel(context.Background())
			stopped := locktest.Async(t, func() error {
				h, err := l.Acquire(ctx, key)
				if err == nil {
					err = h.Release(ctx)
				}
				return err
			})
			locktest.Receive(t, stuck)
			for _, name := range []string{"a", "b", "c"} {
				locktest.Release(t, locktest.Acquire(t, l, keyspace.MustParse(name)))
			}
			cancel()
			stopped()
		})
	}
}

// In each state of an acquire etcd goes out of reach. The call
// then ends soon after its context.
func TestAnAcquireEndsWithItsContextWhenEtcdIsOutOfReach(t *testing.T) {
	t.Parallel()
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
				prefix := s.Prefix(t)
				opts := []locker.Option{locker.WithPrefix(prefix), locker.WithTTL(time.Minute)}
				net := etcdtest.Proxy(t, s.Endpoints()[0])
				client := net.Client(t)
				a, b := newLocker(t, client, opts...), newLocker(t, s.Client(t), opts...)
				defer func() { // so that Close reaches etcd
					net.Heal(t)
					_, err := client.Get(context.Background(), "/"+prefix+"/")
					locktest.Must(t, err)
				}()

				if c.leased {
					locktest.Acquire(t, a, keyspace.MustParse("other"))
				}
				ctx, cancel := context.WithCancel(t.Context())
				result := make(chan error, 1)
				if c.queued {
					locktest.Acquire(t, b, key)
					go func() { result <- c.acquire(ctx, a) }()
					locktest.UntilQueued(t, b, key, 2)
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
					locktest.WantErr(t, err, context.Canceled)
				case <-time.After(3 * time.Second): // it promises half a second
					t.Error("acquire goes on without its context")
				}
			})
		}
	}
}
