package locker_test

import (
	"context"
	"slices"
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

// proxied returns a cluster of three members, a proxy before each, and what
// makes clients of all proxies.
func proxied(t *testing.T) (*etcdtest.Cluster, []*etcdtest.Proxied, func(edits ...func(*clientv3.Config)) *clientv3.Client) {
	t.Helper()
	cluster := etcdtest.StartCluster(t, 3)
	var proxies []*etcdtest.Proxied
	var endpoints []string
	for _, m := range cluster.Members() {
		p := etcdtest.Proxy(t, m.Endpoint())
		proxies = append(proxies, p)
		endpoints = append(endpoints, p.Endpoint())
	}
	return cluster, proxies, func(edits ...func(*clientv3.Config)) *clientv3.Client {
		return cluster.Client(t, append(edits, func(c *clientv3.Config) { c.Endpoints = endpoints })...)
	}
}

// keepAlive is what the README's client sets.
func keepAlive(c *clientv3.Config) {
	c.DialKeepAliveTime, c.DialKeepAliveTimeout = 10*time.Second, 3*time.Second
}

func TestASilentMemberCostsSecondsAndNoLock(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*clientv3.Config){"keep-alive": keepAlive, "no keep-alive": func(*clientv3.Config) {}} {
		t.Run(name, func(t *testing.T) {
			locktest.Heavy(t)
			_, proxies, client := proxied(t)
			l := newLocker(t, client(edit), locker.WithTTL(4*time.Second))
			space := keyspace.MustNew[int]("n")
			held := locktest.Acquire(t, l, key)
			for i := range 6 {
				locktest.Release(t, locktest.Acquire(t, l, space.Key(i))) // connections to all members are in use
			}
			proxies[0].BlackHole(t)
			var acquires, releases []time.Duration
			for i := range 100 {
				began := time.Now()
				h := locktest.Acquire(t, l, space.Key(i))
				acquires = append(acquires, time.Since(began))
				began = time.Now()
				locktest.Release(t, h)
				releases = append(releases, time.Since(began))
			}
			for what, all := range map[string][]time.Duration{"acquires": acquires, "releases": releases} {
				slices.Sort(all)
				t.Logf("%s: median %v, worst %v", what, all[len(all)/2], all[len(all)-1])
				if worst := all[len(all)-1]; worst > 5*time.Second {
					t.Errorf("one of the %s took %v", what, worst)
				}
			}
			locktest.WantErr(t, held.Err(), nil)
			locktest.Release(t, held)
		})
	}
}

func TestTheLossOfLeadersFailsNoAcquire(t *testing.T) {
	locktest.Heavy(t)
	cluster := etcdtest.StartCluster(t, 3)
	l := newLocker(t, cluster.Client(t), locker.WithTTL(10*time.Second))
	space := keyspace.MustNew[int]("n")
	var stop atomic.Bool
	var done atomic.Int64
	var workers sync.WaitGroup
	for i := range 64 {
		workers.Go(func() {
			for !stop.Load() {
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
				h, err := l.Acquire(ctx, space.Key(i%48)) // some wait for each other
				if err != nil && ctx.Err() == nil {
					t.Errorf("acquire: %v", err)
				}
				cancel()
				_ = h.Release(context.Background()) // perhaps not confirmed in time
				done.Add(1)
			}
		})
	}
	for range 5 {
		leader := cluster.Leader(t)
		leader.Kill()
		before := done.Load()
		locktest.Until(t, "work goes on", func() bool { return done.Load() > before+500 })
		leader.Restart(t)
	}
	stop.Store(true)
	workers.Wait()
}
