package guard_test

import (
	"context"
	"flag"
	"slices"
	"strconv"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

var soak = flag.Duration("soak", 8*time.Second, "how long watches are watched while tokens die; issues ask for 5m")

// Tokens die while nobody uses them, and others keep the client's streams open.
func TestWatchesUnderTokensThatDieFareAsWithoutAuth(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func() *etcdtest.Server{
		"no auth":       func() *etcdtest.Server { return etcdtest.StartOwn(t).Server },
		"simple tokens": func() *etcdtest.Server { return etcdtest.StartAuth(t, etcdtest.AuthConfig{}).Server },
		"JWT":           func() *etcdtest.Server { return etcdtest.StartAuth(t, etcdtest.AuthConfig{JWT: true}).Server },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			etcd := start()
			s := store{etcd, etcd.Root(t), etcd.Prefix(t)}
			app := etcd.Client(t)
			receive(t, app.Watch(t.Context(), s.name(), clientv3.WithCreatedNotify())) // the program's own
			g := counter(s.lockerOn(t, app))
			watches := []<-chan yielded{watch(t, t.Context(), g)}
			wantYields(t, watches[0], absent)
			var delays []time.Duration
			end := time.Now().Add(*soak)
			n := 0
			for ; time.Now().Before(end); n++ {
				select { // longer than a token lives, each third time
				case <-t.Context().Done():
				case <-time.After([]time.Duration{4 * time.Second, 100 * time.Millisecond, time.Millisecond}[n%3]):
				}
				if n%3 == 0 && len(watches) < 20 {
					w := watch(t, t.Context(), g)
					if n == 0 {
						wantYields(t, w, absent)
					} else {
						wantYields(t, w, n)
					}
					watches = append(watches, w)
				}
				s.put(t, strconv.Itoa(n+1))
				began := time.Now()
				for _, w := range watches {
					wantYields(t, w, n+1)
				}
				delays = append(delays, time.Since(began))
			}
			slices.Sort(delays)
			t.Logf("%d values, %d watches: all told, the last of them after %v in the median, %v at worst", n, len(watches), delays[len(delays)/2], delays[len(delays)-1])
			if worst := delays[len(delays)-1]; worst > 5*time.Second {
				t.Errorf("told after %v", worst)
			}
		})
	}
}

func TestUpdatesAndHoldsGoOnThoughAMemberSwallowsEverything(t *testing.T) {
	t.Parallel()
	c := etcdtest.StartCluster(t, 3)
	silent := etcdtest.Proxy(t, c.Members()[0].Endpoint())
	s := store{c.Server, c.Client(t), c.Prefix(t)}
	client := silent.Client(t, func(cfg *clientv3.Config) { // with keep-alive as in the README
		cfg.Endpoints = append(cfg.Endpoints, c.Members()[1].Endpoint(), c.Members()[2].Endpoint())
		cfg.DialKeepAliveTime, cfg.DialKeepAliveTimeout = 10*time.Second, 3*time.Second
	})
	l := s.lockerOn(t, client, locker.WithTTL(4*time.Second))
	g := counter(l)
	updates := 0
	update := func() time.Duration {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		began := time.Now()
		v, err := g.Update(ctx, increment)
		updates++
		wantValue(t, v, err, updates)
		return time.Since(began)
	}
	var holds []*locker.Hold
	for i := range 5 {
		h, err := l.Acquire(t.Context(), keyspace.MustNew[int]("held").Key(i))
		wantErr(t, err, nil)
		holds = append(holds, h)
	}
	for range 6 { // all members are connected
		update()
	}
	silent.BlackHole(t)
	var took, gets []time.Duration
	began := time.Now()
	for len(took) < 50 || time.Since(began) < 10*time.Second { // two TTLs and more
		took = append(took, update())
		at := time.Now()
		v, err := g.Get(t.Context())
		wantValue(t, v, err, updates)
		gets = append(gets, time.Since(at))
		for _, h := range holds {
			wantErr(t, h.Err(), nil)
		}
	}
	for what, all := range map[string][]time.Duration{"updates": took, "gets": gets} {
		slices.Sort(all)
		t.Logf("%d %s: median %v, worst %v", len(all), what, all[len(all)/2], all[len(all)-1])
		if worst := all[len(all)-1]; worst > 5*time.Second {
			t.Errorf("one of the %s took %v", what, worst)
		}
	}
	for _, h := range holds {
		wantErr(t, h.Release(t.Context()), nil)
	}
}
