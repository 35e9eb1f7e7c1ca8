package work

import (
	"runtime"
	"testing"
	"time"
)

// Idle is so many processes, some on a connection, that hold a lock each and do nothing else: what they cost, and what they
// send.
func Idle(b *testing.B, s *Site, impl Impl, n int) {
	few := s.crowded(b, min(20, n))
	goroutines, memory := runtime.NumGoroutine(), memoryInUse()
	var opening time.Duration
	var sent int64
	quiet := idle()
	if *scale >= 1 {
		quiet = 30 * time.Second
	}
	locks := make([]Lock, n)
	for i := range locks {
		began := time.Now()
		locks[i] = impl.Open(b, few)()(i)
		if err := locks[i].Lock(b.Context()); err != nil {
			b.Fatal(err)
		}
		opening += time.Since(began)
	}
	if !Once() {
		time.Sleep(3 * time.Second) // holds are watched by then
	}
	goroutines, memory = runtime.NumGoroutine()-goroutines, memoryInUse()-memory
	for range b.N {
		before := few.count()
		time.Sleep(quiet) // what is sent in that time is measured
		sent += few.count() - before
	}
	for _, l := range locks {
		if err := l.Unlock(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(opening)/float64(n), "ns/op")
	b.ReportMetric(float64(sent)/(quiet.Seconds()*float64(b.N)*float64(n)), "idle-sent/s/locker")
	b.ReportMetric(float64(memory)/float64(n), "memory-B/locker")
	b.ReportMetric(float64(goroutines)/float64(n), "goroutines/locker")
}
