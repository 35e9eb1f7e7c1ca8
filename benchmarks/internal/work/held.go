package work

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// Held is one process that holds n locks and does not use them: what they cost in memory, goroutines and messages to etcd,
// and what a lock and unlock of another key takes beside them.
func Held(b *testing.B, s *Site, impl Impl, n int) {
	ctx := b.Context()
	worker := impl.Open(b, s)()
	probe := worker(n)
	pair := func() {
		if err := probe.Lock(ctx); err != nil {
			b.Fatal(err)
		}
		if err := probe.Unlock(ctx); err != nil {
			b.Fatal(err)
		}
	}
	pair()
	goroutines, heap := runtime.NumGoroutine(), heapInUse()
	locks := make([]Lock, n)
	for i := range locks {
		locks[i] = worker(i)
	}
	var g errgroup.Group
	g.SetLimit(256)
	for _, l := range locks {
		g.Go(func() error { return l.Lock(ctx) })
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	s.settle()
	goroutines, heap = runtime.NumGoroutine()-goroutines, heapInUse()-heap
	sent := s.count()
	idle := idle()
	time.Sleep(idle) // what is sent in that time is measured
	sent = s.count() - sent
	for b.Loop() {
		pair()
	}
	if n >= 1000 { // less is noise
		b.ReportMetric(float64(heap)/float64(n), "heap-B/hold")
	}
	b.ReportMetric(float64(goroutines), "goroutines")
	b.ReportMetric(float64(sent)/idle.Seconds(), "idle-sent/s")
	g = errgroup.Group{}
	g.SetLimit(256)
	for _, l := range locks {
		g.Go(func() error { return l.Unlock(ctx) })
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
}

// settle waits until little has been sent for a second, from 3 to 15 seconds: elock looks after holds that grow old.
func (s *Site) settle() {
	if Once() {
		return
	}
	for i, sent := 0, s.count(); i < 15; i++ {
		time.Sleep(time.Second) // what is sent in that time is measured
		now := s.count()
		if now-sent < 10 && i >= 2 {
			return
		}
		sent = now
	}
}

// idle is as long as it takes until each lease was kept alive once.
func idle() time.Duration {
	if Once() {
		return 100 * time.Millisecond
	}
	return TTL / 3
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC() // what pools had
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
