package work

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// Waiters is one process with so many goroutines that wait for a key each, all of which another process holds: how long it
// takes until all wait, what they cost, and how long it takes until all have their locks once they are released. Where they do
// not get to wait, there are no figures.
func Waiters(b *testing.B, s *Site, impl Impl, n int) {
	ctx, giveUp := context.WithCancel(b.Context())
	defer giveUp()
	watched := s.client(b)
	mine := s.apart()
	holder, waiter := impl.Open(b, s)(), impl.Open(b, mine)()
	theirs, own := make([]Lock, n), make([]Lock, n)
	for i := range n {
		theirs[i], own[i] = holder(i), waiter(i)
	}
	held := make([]atomic.Bool, n)
	lock := func(i int, l Lock) error {
		if err := l.Lock(ctx); err != nil {
			return err
		}
		if held[i].Swap(true) {
			return errTwo
		}
		return nil
	}
	unlock := func(i int, l Lock) error {
		held[i].Store(false)
		return l.Unlock(ctx)
	}
	each := func(locks []Lock, f func(i int, l Lock) error) error {
		var g errgroup.Group
		g.SetLimit(256)
		for i, l := range locks {
			g.Go(func() error { return f(i, l) })
		}
		return g.Wait()
	}
	all := func(locks []Lock, f func(i int, l Lock) error) {
		if err := each(locks, f); err != nil {
			b.Fatal(err)
		}
	}
	all(own[:1], lock) // grants a lease
	all(own[:1], unlock)
	var queueing, leaving time.Duration
	var memory, goroutines, entering, quiet, releasing int64
	for range b.N {
		all(theirs, lock)
		heap, number := memoryInUse(), runtime.NumGoroutine()
		begin, began := mine.count(), time.Now()
		got := make(chan error, n+1)
		for i, l := range own {
			go func() { got <- lock(i, l) }()
		}
		if !queued(b, watched, s, impl, 2*n) {
			giveUp()
			for range n {
				<-got
			}
			b.Skipf("they do not all wait after %v", patience)
		}
		queueing += time.Since(began)
		if !Once() {
			time.Sleep(10 * time.Second) // what is done soon after is done by then
		}
		entering += mine.count() - begin
		memory += memoryInUse() - heap
		goroutines += int64(runtime.NumGoroutine() - number)
		before := mine.count()
		time.Sleep(idle()) // what is sent in that time is measured
		quiet += mine.count() - before

		begin, began = mine.count(), time.Now()
		go func() { got <- each(theirs, unlock) }()
		for range n + 1 {
			if err := <-got; err != nil {
				b.Fatal(err)
			}
		}
		leaving += time.Since(began)
		releasing += mine.count() - begin
		all(own, unlock)
	}
	waits := float64(n) * float64(b.N)
	b.ReportMetric(float64(queueing+leaving)/waits, "ns/op")
	b.ReportMetric(float64(queueing)/waits, "enter-ns")
	b.ReportMetric(float64(entering)/waits, "sent/enter")
	b.ReportMetric(float64(leaving)/waits, "leave-ns")
	b.ReportMetric(float64(releasing)/waits, "sent/leave")
	b.ReportMetric(float64(memory)/waits, "memory-B/waiter")
	b.ReportMetric(float64(goroutines)/waits, "goroutines/waiter")
	b.ReportMetric(float64(mine.warned.n.Load()), "warnings")
	b.ReportMetric(float64(quiet)/idle().Seconds()/float64(b.N), "idle-sent/s")
}

// memoryInUse is the heap and all stacks.
func memoryInUse() int64 {
	heap := heapInUse()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return heap + int64(m.StackInuse)
}
