package locker_test

import (
	"context"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// A stage is where hooks misbehave: Lockers of two processes, of which a has the
// hooks.
type stage struct {
	a, b   *locker.Locker
	client *clientv3.Client
	prefix string
	arm    func() // hooks misbehave from now on
}

// try runs f on a goroutine that a hook may end, and returns a function that waits
// for its end.
func (s *stage) try(tb testing.TB, f func()) (wait func()) {
	over := make(chan struct{})
	go func() {
		defer close(over)
		f()
	}()
	return func() { tb.Helper(); locktest.Receive(tb, over) }
}

func (s *stage) acquireOn(tb testing.TB, opts ...locker.AcquireOption) *locker.Hold {
	h, err := s.a.Acquire(context.Background(), key, opts...)
	if err != nil {
		tb.Error(err)
	}
	return h
}

var scenes = []struct {
	name string
	opts []locker.Option
	play func(tb testing.TB, s *stage)
}{
	{"a free lock", nil, func(tb testing.TB, s *stage) {
		s.arm()
		_ = s.acquireOn(tb).Release(context.Background())
	}},
	{"a try of a lock that is held", nil, func(tb testing.TB, s *stage) {
		h := locktest.Acquire(tb, s.b, key)
		defer locktest.Release(tb, h)
		s.arm()
		_, err := s.a.TryAcquire(context.Background(), key)
		locktest.WantErr(tb, err, locker.ErrLocked)
	}},
	{"after a wait", nil, func(tb testing.TB, s *stage) {
		h := locktest.Acquire(tb, s.b, key)
		s.arm()
		over := make(chan struct{})
		wait := s.try(tb, func() {
			defer close(over)
			_ = s.acquireOn(tb).Release(context.Background())
		})
		locktest.Until(tb, "it waits or is gone", func() bool {
			select {
			case <-over:
				return true
			default:
			}
			q, err := s.b.Inspect(context.Background(), key)
			return err == nil && len(q.Waiters) == 1
		})
		locktest.Release(tb, h)
		wait()
	}},
	{"handed over in the process", nil, func(tb testing.TB, s *stage) {
		h := locktest.Acquire(tb, s.a, key)
		s.arm()
		over := make(chan struct{})
		wait := s.try(tb, func() {
			defer close(over)
			_ = s.acquireOn(tb).Release(context.Background())
		})
		locktest.Until(tb, "it waits or is gone", func() bool {
			select {
			case <-over:
				return true
			default:
				return locker.Waiting(s.a, key) == 1
			}
		})
		s.try(tb, func() { _ = h.Release(context.Background()) })()
		wait()
	}},
	{"put at the end of the queue", []locker.Option{locker.WithHandoff(0)}, func(tb testing.TB, s *stage) {
		h := locktest.Acquire(tb, s.a, key)
		wait := s.try(tb, func() { _ = s.acquireOn(tb).Release(context.Background()) })
		locktest.Until(tb, "it waits", func() bool { return locker.Waiting(s.a, key) == 1 })
		s.arm()
		s.try(tb, func() { _ = h.Release(context.Background()) })()
		wait()
	}},
	{"retained", []locker.Option{locker.WithRetain(time.Minute)}, func(tb testing.TB, s *stage) {
		locktest.Release(tb, locktest.Acquire(tb, s.a, key))
		s.arm()
		_ = s.acquireOn(tb).Release(context.Background())
	}},
	{"shared", nil, func(tb testing.TB, s *stage) {
		h := locktest.Acquire(tb, s.a, key, locker.Shared())
		s.arm()
		s.try(tb, func() { _ = s.acquireOn(tb, locker.Shared()).Release(context.Background()) })()
		_ = h.Release(context.Background())
	}},
	{"several free locks", nil, func(tb testing.TB, s *stage) {
		s.arm()
		h, err := s.a.AcquireAll(context.Background(), []keyspace.Key{key, neighbour})
		if err != nil {
			tb.Error(err)
		}
		_ = h.Release(context.Background())
	}},
	{"several locks one by one", nil, func(tb testing.TB, s *stage) {
		h := locktest.Acquire(tb, s.b, neighbour)
		s.arm()
		over := make(chan struct{})
		wait := s.try(tb, func() {
			defer close(over)
			h, err := s.a.AcquireAll(context.Background(), []keyspace.Key{key, neighbour})
			if err != nil {
				tb.Error(err)
			}
			_ = h.Release(context.Background())
		})
		locktest.Until(tb, "it waits or is gone", func() bool {
			select {
			case <-over:
				return true
			default:
			}
			q, err := s.b.Inspect(context.Background(), neighbour)
			return err == nil && len(q.Waiters) == 1
		})
		locktest.Release(tb, h)
		wait()
	}},
	{"committed", nil, func(tb testing.TB, s *stage) {
		s.arm()
		_, _ = s.acquireOn(tb).Commit(context.Background(), nil)
	}},
	{"several committed", nil, func(tb testing.TB, s *stage) {
		h, err := s.a.AcquireAll(context.Background(), []keyspace.Key{key, neighbour})
		if err != nil {
			tb.Error(err)
		}
		s.arm()
		_, _ = h.Commit(context.Background(), nil)
	}},
	{"committed while another waits", nil, func(tb testing.TB, s *stage) {
		h := locktest.Acquire(tb, s.a, key)
		wait := s.try(tb, func() { _ = s.acquireOn(tb).Release(context.Background()) })
		locktest.Until(tb, "it waits", func() bool { return locker.Waiting(s.a, key) == 1 })
		s.arm()
		s.try(tb, func() { _, _ = h.Commit(context.Background(), nil) })()
		wait()
	}},
	{"evicted", nil, func(tb testing.TB, s *stage) {
		s.arm()
		h := s.acquireOn(tb)
		if _, err := s.b.Evict(context.Background(), key); err != nil {
			tb.Error(err)
		}
		<-h.Context().Done()
		_ = h.Release(context.Background())
	}},
	{"a lost lease", nil, func(tb testing.TB, s *stage) {
		h, err := s.a.AcquireAll(context.Background(), []keyspace.Key{key, neighbour})
		if err != nil {
			tb.Error(err)
		}
		other := locktest.Acquire(tb, s.a, keyspace.MustParse("space/third"))
		s.arm()
		revokeLease(tb, s.client, s.prefix)
		<-h.Context().Done()
		<-other.Context().Done()
	}},
	{"held too long", []locker.Option{locker.WithMonitorTicks(5 * time.Millisecond)}, func(tb testing.TB, s *stage) {
		s.arm()
		h := s.acquireOn(tb, locker.MaxHeld(time.Millisecond))
		<-h.Context().Done()
		_ = h.Release(context.Background())
	}},
	{"closed", nil, func(tb testing.TB, s *stage) {
		h, err := s.a.AcquireAll(context.Background(), []keyspace.Key{key, neighbour})
		if err != nil {
			tb.Error(err)
		}
		s.arm()
		if err := s.a.Close(); err != nil {
			tb.Error(err)
		}
		_ = h.Release(context.Background())
	}},
}

// revokeLease revokes the lease of the first entry under prefix.
func revokeLease(tb testing.TB, client *clientv3.Client, prefix string) {
	ctx := context.Background()
	resp, err := client.Get(ctx, "/"+prefix+"/", clientv3.WithPrefix(), clientv3.WithLimit(1))
	if err != nil || len(resp.Kvs) == 0 {
		tb.Error("no entry", err)
		return
	}
	if _, err := client.Revoke(ctx, clientv3.LeaseID(resp.Kvs[0].Lease)); err != nil {
		tb.Error(err)
	}
}

// soon is how long a lock may stay taken after a hook has misbehaved. A lost lane
// or entry stays for the TTL of 15 seconds, or for ever.
const soon = 20 * time.Second

func TestAHookThatPanicsOrEndsItsGoroutineHurtsNothing(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	clients := []*clientv3.Client{server.Client(t), server.Client(t)}
	ways := map[string]func(){"panics": func() { panic("hook") }, "exits": runtime.Goexit}
	methods := []string{"AcquireStart", "AcquireEnd", "Blocked", "HoldStart", "HoldEnd", "TimeoutStart", "TimeoutEnd"}
	for _, scene := range scenes {
		for _, method := range methods {
			for way, spring := range ways {
				if strings.HasPrefix(method, "Timeout") && scene.name != "held too long" {
					continue
				}
				t.Run(scene.name+"/"+method+" "+way, func(t *testing.T) {
					t.Parallel()
					harm(t, server, clients, scene.opts, method, spring, scene.play)
				})
			}
		}
	}
}

func harm(t *testing.T, server *etcdtest.Server, clients []*clientv3.Client, opts []locker.Option, method string, spring func(), play func(testing.TB, *stage)) {
	var armed, sprung atomic.Bool
	first := &balance{trap: func(m string) {
		if m == method && armed.Load() {
			sprung.Store(true)
			spring()
		}
	}}
	second := &balance{trap: first.trap}
	var out locktest.Log
	prefix := server.Prefix(t)
	log := locker.WithLogger(slog.New(slog.NewTextHandler(&out, nil)))
	opts = append([]locker.Option{locker.WithPrefix(prefix), locker.WithHook(first, second), log}, opts...)
	s := &stage{
		a: locktest.New(t, clients[0], opts...), b: newLocker(t, clients[1], locker.WithPrefix(prefix)),
		client: clients[1], prefix: prefix, arm: func() { armed.Store(true) },
	}
	s.try(t, func() { play(t, s) })()
	locktest.Until(t, "all Ends have been called", func() bool { return first.even() && second.even() })
	armed.Store(false)
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	for _, l := range []*locker.Locker{s.b, s.a, s.b} {
		for _, k := range []keyspace.Key{key, neighbour} {
			if l.Context().Err() != nil {
				continue
			}
			h, err := l.Acquire(ctx, k)
			if err != nil {
				t.Fatal(k, err)
			}
			locktest.Release(t, h)
		}
	}
	locktest.Until(t, "all Ends have been called", func() bool { return first.even() && second.even() })
	if text := out.String(); sprung.Load() && !(strings.Contains(text, method) && strings.Contains(text, "stack=")) {
		t.Errorf("logged %q", text)
	}
}
