package peers

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/phpgao/elock/benchmarks/internal/work"
	"github.com/phpgao/elock/internal/etcdtest"
)

func TestMain(m *testing.M) { etcdtest.Main(m) }

// onEtcd are the same locks as in package benchmarks: ratios want both sides from one run.
func onEtcd() []work.Impl {
	return []work.Impl{work.Elock("elock"), work.Mutex("mutex")}
}

// onRedis are the locks on two servers: one as installed, and one as durable as etcd.
func onRedis(tb testing.TB) (impls []work.Impl) {
	tb.Helper()
	for _, server := range []struct {
		suffix string
		flags  []string
	}{{"", nil}, {"+fsync", durable}} {
		addr := startRedis(tb, server.flags...)
		impls = append(impls,
			redislockImpl("redislock"+server.suffix, addr, 0),
			redislockImpl("redislock-1ms"+server.suffix, addr, eager),
			redsyncImpl("redsync"+server.suffix, addr, 0),
			redsyncImpl("redsync-1ms"+server.suffix, addr, eager),
			rueidisImpl("rueidislock"+server.suffix, addr),
		)
	}
	return impls
}

func each(b *testing.B, impls []work.Impl, f func(b *testing.B, impl work.Impl)) {
	for _, impl := range impls {
		b.Run("impl="+impl.Name, func(b *testing.B) { f(b, impl) })
	}
}

// One process, whose goroutines have a key each. Nobody asks twice.
func BenchmarkPeersDistinct(b *testing.B) {
	const goroutines = 256
	redis, etcd := onRedis(b), work.Alone(b)
	redis = slices.DeleteFunc(redis, func(i work.Impl) bool { return strings.Contains(i.Name, "-1ms") })
	b.Run(fmt.Sprintf("goroutines=%d", goroutines), func(b *testing.B) {
		each(b, onEtcd(), func(b *testing.B, impl work.Impl) { work.Distinct(b, etcd, impl, goroutines) })
		each(b, redis, func(b *testing.B, impl work.Impl) { work.Distinct(b, nil, impl, goroutines) })
	})
}

// Several processes, one goroutine each, that want the same key.
func BenchmarkPeersHot(b *testing.B) {
	redis, etcd := onRedis(b), work.Alone(b)
	for _, clients := range []int{2, 16} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			each(b, onEtcd(), func(b *testing.B, impl work.Impl) { work.Hot(b, etcd, impl, clients, 1) })
			each(b, redis, func(b *testing.B, impl work.Impl) { work.Hot(b, nil, impl, clients, 1) })
		})
	}
}
