package locker_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
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

var (
	soak   = flag.Duration("soak", 3*time.Second, "how long holds of 2 seconds are kept: by 10 clients, or by 40 if it is a minute or more")
	bcrypt = flag.Int("bcrypt", 4, "what a login costs etcd in the test of these holds; 10 is etcd's default, some 60ms of a core")
	dead   = flag.Int("dead", 2000, "how many locks a process has that dies")
)

func TestManyProcessesWithShortTTLsLoseNothing(t *testing.T) {
	clients := 10
	if *soak >= time.Minute {
		clients = 40
	}
	s := etcdtest.StartAuth(t, etcdtest.AuthConfig{Flags: []string{fmt.Sprintf("--bcrypt-cost=%d", *bcrypt)}})
	prefix := locker.WithPrefix(s.Prefix(t))
	holds, own := keyspace.MustNew[int]("hold"), keyspace.MustNew[int]("n")
	before := s.Logins(t)
	var work sync.WaitGroup
	var mu sync.Mutex
	var all []time.Duration
	for i := range clients {
		l := newLocker(t, s.Client(t), prefix, locker.WithTTL(2*time.Second))
		held := locktest.Acquire(t, l, holds.Key(i))
		end := time.Now().Add(*soak)
		work.Go(func() {
			for n := 0; time.Now().Before(end); n++ {
				began := time.Now()
				h, err := l.Acquire(t.Context(), own.Key(n%clients)) // others want it, too
				if err == nil {
					err = h.Release(t.Context())
				}
				if err != nil {
					t.Errorf("client %d: %v", i, err)
				}
				mu.Lock()
				all = append(all, time.Since(began))
				mu.Unlock()
				select {
				case <-held.Context().Done():
					t.Errorf("client %d: %v", i, held.Err())
					return
				case <-time.After(100 * time.Millisecond): // the pace of the work
				}
			}
			if err := held.Release(context.Background()); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	work.Wait()
	slices.Sort(all)
	t.Logf("%d clients, %v: %d other locks, median %v, worst %v; %d logins", clients, *soak, len(all), all[len(all)/2], all[len(all)-1], s.Logins(t)-before)
}

func TestVeryManyTTLsLeaveNothing(t *testing.T) {
	acquires, ttls := 10_000**scale, 1000**scale
	s := etcdtest.Start(t)
	l := newLocker(t, s.Client(t), locker.WithPrefix(s.Prefix(t)))
	space := keyspace.MustNew[int]("n")
	locktest.Release(t, locktest.Acquire(t, l, key))
	goroutines := runtime.NumGoroutine()
	var most atomic.Int64
	run := func() (heap uint64) {
		var work sync.WaitGroup
		var next atomic.Int64
		for w := range 32 {
			work.Go(func() {
				for {
					n := int(next.Add(1))
					if n > acquires/2 {
						return
					}
					ttl := time.Duration(10+(n*7919)%ttls) * time.Second
					h, err := l.Acquire(t.Context(), space.Key(w), locker.TTL(ttl))
					if err == nil {
						err = h.Release(t.Context())
					}
					if err != nil {
						t.Error(err)
						return
					}
					most.Store(max(most.Load(), int64(locker.Leases(l))))
				}
			})
		}
		work.Wait()
		locktest.Until(t, "idle leases are revoked", func() bool { return locker.Leases(l) <= 1 })
		locktest.Until(t, "their goroutines have ended", func() bool { return runtime.NumGoroutine() <= goroutines+5 })
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	began := time.Now()
	first := run()
	grown := int64(run()) - int64(first)
	t.Logf("%d acquires of %d TTLs in %v: %d leases at most, %d afterwards, %d goroutines more, %d bytes more after the second half",
		acquires, ttls, time.Since(began).Round(time.Second), most.Load(), locker.Leases(l), runtime.NumGoroutine()-goroutines, grown)
	if most.Load() > 400 {
		t.Errorf("%d leases", most.Load())
	}
	if limit := int64(acquires) * 50; grown > limit {
		t.Errorf("%d bytes stay", grown)
	}
}

// mortal returns a Locker, which the caller closes, and what its process dies of.
func mortal(t *testing.T, s *etcdtest.Server, opts ...locker.Option) (*locker.Locker, *etcdtest.Proxied) {
	t.Helper()
	proxy := etcdtest.Proxy(t, s.Endpoints()[0])
	quiet := locker.WithLogger(slog.New(slog.DiscardHandler))
	l, err := locker.New(proxy.Client(t), append(opts, quiet)...)
	if err != nil {
		t.Fatal(err)
	}
	return l, proxy
}

// leave has m keep locks as a process leaves them that dies: under leases of 64 entries each, which nobody renews.
func leave(t *testing.T, m *etcdtest.Member, dir string, locks int, ttl int64) {
	t.Helper()
	const each = 64
	client := m.Root(t)
	var work sync.WaitGroup
	var next atomic.Int64
	for range 32 {
		work.Go(func() {
			for {
				last := int(next.Add(each))
				if last-each >= locks {
					return
				}
				lease, err := client.Grant(t.Context(), ttl)
				if err != nil {
					t.Error(err)
					return
				}
				var puts []clientv3.Op
				for i := last - each; i < min(last, locks); i++ {
					puts = append(puts, clientv3.OpPut(fmt.Sprintf("%s%d/%x", dir, i, lease.ID), strings.Repeat("x", 100), clientv3.WithLease(lease.ID)))
				}
				if _, err := client.Txn(t.Context()).Then(puts...).Commit(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
}

func TestManyLocksOfADeadProcessDelayNobody(t *testing.T) {
	locktest.Heavy(t)
	m := etcdtest.StartOwn(t)
	name := m.Prefix(t)
	prefix, short := locker.WithPrefix(name), locker.WithTTL(2*time.Second)
	live := newLocker(t, m.Client(t), prefix, short)
	held := locktest.Acquire(t, live, key)
	// Processes with short TTLs that die while the locks of the first are deleted.
	const victims = 5
	waits := keyspace.MustNew[int]("wait")
	var victim [victims]*etcdtest.Proxied
	var died [victims]atomic.Pointer[time.Time]
	var closing []func() error
	defer func() {
		var all sync.WaitGroup
		for _, close := range closing {
			all.Go(func() { _ = close() }) // the leases cannot be revoked
		}
		all.Wait()
	}()
	var waiting sync.WaitGroup
	var mu sync.Mutex
	var took []time.Duration
	for i := range victims {
		l, proxy := mortal(t, m.Server, prefix, short)
		victim[i] = proxy
		locktest.Acquire(t, l, waits.Key(i))
		closing = append(closing, l.Close)
		waiting.Go(func() {
			h, err := live.Acquire(t.Context(), waits.Key(i))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			took = append(took, time.Since(*died[i].Load()))
			mu.Unlock()
			if err := h.Release(t.Context()); err != nil {
				t.Error(err)
			}
		})
		locktest.UntilQueued(t, live, waits.Key(i), 2)
	}
	root, dir := m.Root(t), "/"+name+"/n:/"
	left := func() int64 {
		resp, err := root.Get(t.Context(), dir, clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			t.Fatal(err)
		}
		return resp.Count
	}
	began := time.Now()
	leave(t, m, dir, *dead, 6)
	n := left()
	t.Logf("%d locks of a dead process after %v", n, time.Since(began).Round(time.Millisecond))
	if n == 0 {
		t.Fatal("they are gone already")
	}
	time.Sleep(time.Until(began.Add(4 * time.Second))) // their leases end from 6 seconds after their grants on
	for i := range victims {
		now := time.Now()
		died[i].Store(&now)
		victim[i].Cut(t)
		time.Sleep(500 * time.Millisecond)
	}
	waiting.Wait()
	slices.Sort(took)
	t.Logf("the locks of processes that died meanwhile were free after %v", took)
	if worst := took[len(took)-1]; worst > slower*4*time.Second {
		t.Errorf("one was free after %v", worst)
	}
	locktest.Until(t, "the dead locks are gone", func() bool { return left() == 0 })
	t.Logf("all were deleted %v after the first grant", time.Since(began).Round(100*time.Millisecond))
	locktest.WantErr(t, held.Err(), nil)
	locktest.Release(t, held)
}
