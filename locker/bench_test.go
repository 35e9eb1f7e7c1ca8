package locker_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// BenchmarkHolds shows what holding many locks costs beside an uncontended
// acquire and release: leases, goroutines and memory of the process.
func BenchmarkHolds(b *testing.B) {
	s := etcdtest.Start(b)
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("held=%d", n), func(b *testing.B) {
			var leases atomic.Int64
			f := &faults{after: func(_ context.Context, c call, err error) error {
				if c.wrote && c.kind == "grant" {
					leases.Add(1)
				}
				return err
			}}
			before, heap := runtime.NumGoroutine(), heapInUse()
			l := newLocker(b, faulty(s.Client(b), f), locker.WithPrefix(s.Prefix(b)))
			space := keyspace.MustNew[int]("held")
			held := make([]*locker.Hold, n)
			var g errgroup.Group
			g.SetLimit(64)
			for i := range held {
				g.Go(func() (err error) {
					held[i], err = l.Acquire(context.Background(), space.Key(i))
					return err
				})
			}
			if err := g.Wait(); err != nil {
				b.Fatal(err)
			}
			goroutines := settledGoroutines() - before
			perHold := float64(heapInUse()-heap) / float64(n)
			for b.Loop() {
				locktest.Release(b, locktest.Acquire(b, l, key))
			}
			b.ReportMetric(float64(leases.Load()), "leases")
			b.ReportMetric(float64(goroutines), "goroutines")
			b.ReportMetric(perHold, "heap-B/hold")
			if most := int64(n/60 + 3); leases.Load() > most { // 64 locks to each
				b.Errorf("%d leases, want %d at most", leases.Load(), most)
			}
			for _, h := range held {
				if err := h.Err(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// settledGoroutines returns how many goroutines there are once their number
// has not changed for longer than it takes until old holds are watched.
func settledGoroutines() int {
	n, since := runtime.NumGoroutine(), time.Now()
	for time.Since(since) < 3*time.Second {
		time.Sleep(10 * time.Millisecond) // the period of a poll
		if m := runtime.NumGoroutine(); m != n {
			n, since = m, time.Now()
		}
	}
	return n
}

func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkAcquireRelease(b *testing.B) {
	s := etcdtest.Start(b)
	b.Run("impl=put+delete", func(b *testing.B) {
		client, name := s.Client(b), "/"+s.Prefix(b)+"/raw"
		b.ReportAllocs()
		for b.Loop() {
			if _, err := client.Put(context.Background(), name, "value"); err != nil {
				b.Fatal(err)
			}
			if _, err := client.Delete(context.Background(), name); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("impl=elock", func(b *testing.B) {
		l := newLocker(b, s.Client(b), locker.WithPrefix(s.Prefix(b)))
		b.ReportAllocs()
		for b.Loop() {
			h, err := l.Acquire(context.Background(), key)
			if err != nil {
				b.Fatal(err)
			}
			if err := h.Release(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkHeldWithAuth is an uncontended pair, and pairs of 64 goroutines, beside
// holds of the same Locker, with authentication on and a plain user.
func BenchmarkHeldWithAuth(b *testing.B) {
	s := etcdtest.StartAuth(b, etcdtest.AuthConfig{TokenTTL: 5 * time.Minute})
	for _, held := range []int{10, 10_000} {
		l := newLocker(b, s.Client(b), locker.WithPrefix(s.Prefix(b)))
		space := keyspace.MustNew[int]("held")
		var holders errgroup.Group
		holders.SetLimit(64)
		for i := range held {
			holders.Go(func() error { _, err := l.Acquire(b.Context(), space.Key(i)); return err })
		}
		if err := holders.Wait(); err != nil {
			b.Fatal(err)
		}
		pair := func(b *testing.B, k keyspace.Key) {
			h, err := l.Acquire(b.Context(), k)
			if err != nil {
				b.Error(err)
				return
			}
			if err := h.Release(b.Context()); err != nil {
				b.Error(err)
			}
		}
		b.Run(fmt.Sprintf("held=%d/goroutines=1", held), func(b *testing.B) {
			for b.Loop() {
				pair(b, key)
			}
			b.ReportMetric(float64(locker.Leases(l)), "leases")
		})
		b.Run(fmt.Sprintf("held=%d/goroutines=64", held), func(b *testing.B) {
			var n atomic.Int64
			b.SetParallelism(32) // of GOMAXPROCS
			keys := keyspace.MustNew[int64]("own")
			b.RunParallel(func(pb *testing.PB) {
				k := keys.Key(n.Add(1))
				for pb.Next() {
					pair(b, k)
				}
			})
			b.ReportMetric(float64(locker.Leases(l)), "leases")
		})
	}
}
