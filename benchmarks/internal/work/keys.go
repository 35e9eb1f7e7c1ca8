package work

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// Keys is one process whose goroutines lock and unlock a fresh key each time: whether the last locks cost more than the
// first, in time, in the memory of the process, and in etcd. Its history is compacted every second, up to what was the
// newest a second before.
func Keys(b *testing.B, s *Site, impl Impl, n int) {
	const goroutines = 64
	n *= b.N
	window := int64(min(10_000, max(1, n/4)))
	etcd := s.client(b)
	mine := s.apart()
	p := impl.Open(b, mine)
	users := make([]*user, goroutines)
	for i := range users {
		users[i] = &user{worker: p()}
	}
	var next atomic.Int64
	run := func(from, to int64) {
		next.Store(from - 1)
		g, ctx := errgroup.WithContext(b.Context())
		for _, u := range users {
			g.Go(func() error {
				for i := next.Add(1); i < to; i = next.Add(1) {
					took, err := u.pair(ctx, int(i))
					if err != nil {
						return err
					}
					u.took.add(took)
					if i < window {
						u.first.add(took)
					}
					if i >= to-window {
						u.last.add(took)
					}
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			b.Fatal(err)
		}
	}
	const before = 20 * goroutines // the first of all are slow: they grant leases, and the heap grows
	run(int64(n), int64(n+before))
	for _, u := range users {
		u.took, u.first, u.last = histogram{}, histogram{}, histogram{}
	}
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	go compact(ctx, etcd)
	heap, server := heldHeap(), s.size(b, etcd)
	sent := mine.count()
	b.ResetTimer()
	run(0, int64(n))
	b.StopTimer()
	after := heldHeap()
	sent = mine.count() - sent
	var took, first, last histogram
	for _, u := range users {
		took.merge(&u.took)
		first.merge(&u.first)
		last.merge(&u.last)
	}
	b.ReportMetric(float64(b.Elapsed())/float64(n), "ns/op")
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "locks/s")
	b.ReportMetric(float64(sent)/float64(n), "sent/lock")
	b.ReportMetric(float64(first.quantile(0.5)), "first-p50-ns")
	b.ReportMetric(float64(last.quantile(0.5)), "last-p50-ns")
	b.ReportMetric(float64(last.quantile(0.5))/float64(first.quantile(0.5)), "x-first")
	b.ReportMetric(float64(took.quantile(0.99)), "p99-ns")
	b.ReportMetric(float64(heap), "heap-begin-B")
	b.ReportMetric(float64(after), "heap-end-B")
	server.report(b, "begin")
	s.size(b, etcd).report(b, "end")
	runtime.KeepAlive(users)
}

// heldHeap is the least heap of several looks: what is under way comes and goes.
func heldHeap() int64 {
	least := heapInUse()
	for range 4 {
		time.Sleep(50 * time.Millisecond) // what is under way ends in that time
		least = min(least, heapInUse())
	}
	return least
}

// A user is a goroutine of Keys.
type user struct {
	worker            Worker
	took, first, last histogram
}

func (u *user) pair(ctx context.Context, key int) (time.Duration, error) {
	began := time.Now()
	lock := u.worker(key)
	if err := lock.Lock(ctx); err != nil {
		return 0, err
	}
	err := lock.Unlock(ctx)
	return time.Since(began), err
}

// compact lets etcd forget its history, a second later than it becomes that.
func compact(ctx context.Context, etcd *clientv3.Client) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var rev int64
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if rev > 0 {
			etcd.Compact(ctx, rev) // fails if others did more
		}
		if resp, err := etcd.Get(ctx, "rev", clientv3.WithCountOnly()); err == nil {
			rev = resp.Header.Revision
		}
	}
}
