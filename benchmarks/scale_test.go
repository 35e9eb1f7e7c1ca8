package benchmarks

import (
	"fmt"
	"testing"
	"time"

	"github.com/phpgao/elock/benchmarks/internal/work"
)

// Many processes that wait for one key in etcd's queue.
func BenchmarkQueue(b *testing.B) {
	s := work.Alone(b)
	for _, n := range work.Sizes(100, 100, 300, 1_000) {
		b.Run(fmt.Sprintf("waiters=%d", n), func(b *testing.B) {
			each(b, []work.Impl{elock, mutex}, func(b *testing.B, impl work.Impl) { work.Queue(b, s, impl, n) })
		})
	}
}

// Keys that are used once each.
func BenchmarkKeys(b *testing.B) {
	for _, n := range work.Sizes(2_000, 10_000, 100_000, 1_000_000) {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			each(b, []work.Impl{elock, mutex, putDelete}, func(b *testing.B, impl work.Impl) {
				if n > 100_000 && impl.Name == mutex.Name {
					b.Skip("takes minutes")
				}
				work.Keys(b, work.Alone(b), impl, n) // each with an etcd that has no history
			})
		})
	}
}

// Goroutines of one process that wait for a key each.
func BenchmarkWaiters(b *testing.B) {
	s := work.Alone(b)
	for _, n := range work.Sizes(1_000, 1_000, 10_000, 100_000) {
		b.Run(fmt.Sprintf("waiters=%d", n), func(b *testing.B) {
			each(b, []work.Impl{elock, mutex}, func(b *testing.B, impl work.Impl) {
				if n > 10_000 && impl.Name == mutex.Name {
					b.Skip("takes minutes")
				}
				work.Waiters(b, s, impl, n)
			})
		})
	}
}

// Processes that hold a lock each and do nothing.
func BenchmarkIdle(b *testing.B) {
	s := work.Alone(b)
	for _, n := range work.Sizes(20, 10, 100, 1_000) {
		b.Run(fmt.Sprintf("lockers=%d", n), func(b *testing.B) {
			each(b, []work.Impl{elock, mutex}, func(b *testing.B, impl work.Impl) { work.Idle(b, s, impl, n) })
		})
	}
}

// Three members, and a network that makes each round trip between them 2 ms longer.
func BenchmarkClusterApart(b *testing.B) {
	const rtt = 2 * time.Millisecond
	s := work.ClusterApart(b, 3, rtt)
	b.Run(fmt.Sprintf("members=3/rtt=%v", rtt), func(b *testing.B) { some(b, s) })
}
