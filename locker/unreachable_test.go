package locker_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

func TestWithoutEtcdEveryCallReturnsWithinItsContextPlusASecond(t *testing.T) {
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

			held := acquire(t, l, keyspace.MustParse("held"))
			if err := l.Lock(t.Context(), "locked", 3600); err != nil {
				t.Fatal(err)
			}
			waitedFor := keyspace.MustParse("waited for")
			acquire(t, other, waitedFor)
			ended := async(t, func() error {
				_, err := l.Acquire(brief(t), waitedFor)
				return err
			})
			untilQueued(t, other, waitedFor, 2)

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
				"Lock":                 func(ctx context.Context) error { return l.Lock(ctx, "lock", 3600) },
				"RunFuncInLock":        func(ctx context.Context) error { _, err := l.RunFuncInLock(ctx, "func", 9, func() {}); return err },
				"Release":              held.Release,
				"Unlock":               func(ctx context.Context) error { return l.Unlock(ctx, "locked") },
				"Inspect":              func(ctx context.Context) error { _, err := l.Inspect(ctx, k); return err },
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
					if took := time.Since(began); took > 1500*time.Millisecond {
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
			wantErr(t, l.Shutdown(ctx), context.DeadlineExceeded)
			if took := time.Since(began); took > time.Second {
				t.Errorf("Shutdown took %v", took)
			}
			began = time.Now()
			if err := l.Close(); err == nil {
				t.Error("Close left leases behind and does not say so")
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("Close took %v", took)
			}

			if way == "paused" {
				member.Resume(t)
			}
			proxy.Heal(t)
			until(t, "Close revokes what it left", func() bool { return l.Close() == nil })
		})
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
				acquire(t, other, key)
			}
			ctx, cancel := context.WithCancel(context.Background())
			stopped := async(t, func() error {
				h, err := l.Acquire(ctx, key)
				if err == nil {
					err = h.Release(ctx)
				}
				return err
			})
			receive(t, stuck)
			for _, name := range []string{"a", "b", "c"} {
				release(t, acquire(t, l, keyspace.MustParse(name)))
				if err := l.Lock(t.Context(), name, 15); err != nil {
					t.Error(err)
				}
				if err := l.Unlock(t.Context(), name); err != nil {
					t.Error(err)
				}
			}
			cancel()
			stopped()
		})
	}
}
