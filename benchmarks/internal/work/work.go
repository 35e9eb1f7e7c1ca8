package work

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// Pair is one goroutine that locks and unlocks one key again and again.
func Pair(b *testing.B, s *Site, impl Impl) {
	ctx := b.Context()
	lock := impl.Open(b, s)()(0)
	pair := func() {
		if err := lock.Lock(ctx); err != nil {
			b.Fatal(err)
		}
		if err := lock.Unlock(ctx); err != nil {
			b.Fatal(err)
		}
	}
	pair() // grants leases
	b.ReportAllocs()
	sent, n := s.count(), 0
	for b.Loop() {
		pair()
		n++
	}
	b.ReportMetric(float64(s.count()-sent)/float64(n), "sent/lock")
}

// Distinct is one process whose goroutines have a key each.
func Distinct(b *testing.B, s *Site, impl Impl, goroutines int) {
	p := impl.Open(b, s)
	members := make([]*member, goroutines)
	for i := range members {
		members[i] = &member{next: always(p()(i))}
	}
	spread(b, s, members)
}

// Hot is several processes, with some goroutines each, that all want one key.
func Hot(b *testing.B, s *Site, impl Impl, processes, goroutines int) {
	members := contend(b, s, impl, processes, goroutines)
	spread(b, s, members)
	reportHandovers(b, members)
}

// HotShared is one process with a Locker that wants a key for itself, and others that read it together. Hand-overs are those
// from the readers to the writer, and back to the first of them.
func HotShared(b *testing.B, s *Site, name string, processes int) {
	members := readers(b, s, name, processes)
	spread(b, s, members)
	reportHandovers(b, members)
}

// readers returns one that holds a key alone, and others that share it.
func readers(tb testing.TB, s *Site, name string, processes int) []*member {
	tb.Helper()
	c := &crowd{began: time.Now(), slots: int32(processes)}
	members := make([]*member, processes)
	for i := range members {
		if i == 0 {
			members[i] = &member{next: always(Elock(name).Open(tb, s)()(0)), crowd: c, takes: c.slots}
		} else {
			members[i] = &member{next: always(elockShared(name).Open(tb, s)()(0)), crowd: c, reads: true}
		}
	}
	return members
}

// Ring is Hot for clients of WriteAndNotice.
func Ring(b *testing.B, s *Site, clients int) {
	members := contend(b, s, WriteAndNotice("write+notice", clients), clients, 1)
	b.ResetTimer()
	err := take(b.Context(), members, (b.N+clients-1)/clients)
	b.StopTimer()
	if err != nil {
		b.Fatal(err)
	}
	reportHandovers(b, members)
}

func reportHandovers(b *testing.B, members []*member) { report(b, handovers(members)) }

func report(b *testing.B, h histogram) {
	b.ReportMetric(float64(h.n)/b.Elapsed().Seconds(), "handovers/s")
	b.ReportMetric(float64(h.quantile(0.5)), "handover-p50-ns")
	b.ReportMetric(float64(h.quantile(0.99)), "handover-p99-ns")
}

// handovers is how long they took.
func handovers(members []*member) (h histogram) {
	for _, m := range members {
		h.merge(&m.handovers)
	}
	return h
}

// Zipf is several processes, with some goroutines each, whose keys are distributed by Zipf's law: a few are wanted often,
// and most rarely.
func Zipf(b *testing.B, s *Site, impl Impl, processes, goroutines int) {
	const keys = 1000
	var members []*member
	for range processes {
		p := impl.Open(b, s)
		for range goroutines {
			worker, locks := p(), make(map[int]Lock)
			keys := rand.NewZipf(rand.New(rand.NewPCG(1, uint64(len(members)))), 1.1, 1, keys-1)
			members = append(members, &member{next: func() Lock {
				key := int(keys.Uint64())
				if locks[key] == nil {
					locks[key] = worker(key)
				}
				return locks[key]
			}})
		}
	}
	spread(b, s, members)
}

func always(l Lock) func() Lock { return func() Lock { return l } }

// A member is a goroutine of some work.
type member struct {
	next      func() Lock   // the lock for the next round
	crowd     *crowd        // who else wants it; nil if nobody cares
	stays     time.Duration // how long it holds the lock, if anybody cares
	takes     int32         // of the crowd's slots; 0: one
	reads     bool          // together with others that do
	counting  *atomic.Bool  // whether what it does counts; nil: it does
	took      histogram
	handovers histogram
}

// count adds what took so long to h, if it counts.
func (m *member) count(h *histogram, took time.Duration) {
	if m.counting == nil || m.counting.Load() {
		h.add(took)
	}
}

// round locks and unlocks once.
func (m *member) round(ctx context.Context) error {
	began := time.Now()
	lock := m.next()
	if err := lock.Lock(ctx); err != nil {
		return err
	}
	if m.crowd != nil {
		if err := m.crowd.enter(m); err != nil {
			return err
		}
		time.Sleep(m.stays)
		m.crowd.leave(m)
	}
	if err := lock.Unlock(ctx); err != nil {
		return err
	}
	m.count(&m.took, time.Since(began))
	return nil
}

// spread lets members do b.N rounds together. They count once each of them has done two: then there are leases and watches, and all
// are on their way. All stop once that is done.
func spread(b *testing.B, s *Site, members []*member) {
	var early atomic.Int32 // who has done two rounds
	var left atomic.Int64
	var counting, over atomic.Bool
	begin, end := make(chan struct{}), make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		failed <- together(b.Context(), members, func(ctx context.Context, m *member) error {
			m.counting = &counting
			for n := 1; !over.Load(); n++ {
				if err := m.round(ctx); err != nil {
					return err
				}
				if n == 2 && early.Add(1) == int32(len(members)) {
					close(begin)
				}
				if counting.Load() && left.Add(-1) == 0 {
					counting.Store(false)
					over.Store(true)
					close(end)
				}
			}
			return nil
		})
	}()
	until := func(reached <-chan struct{}) {
		select {
		case <-reached:
		case err := <-failed:
			if failed <- err; err != nil {
				b.Fatal(err)
			}
		}
	}
	until(begin)
	left.Store(int64(b.N))
	sent := s.count()
	b.ResetTimer()
	counting.Store(true)
	until(end)
	b.StopTimer()
	sent = s.count() - sent
	if err := <-failed; err != nil {
		b.Fatal(err)
	}
	var took histogram
	for _, m := range members {
		took.merge(&m.took)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "locks/s")
	b.ReportMetric(float64(took.quantile(0.5)), "p50-ns")
	b.ReportMetric(float64(took.quantile(0.99)), "p99-ns")
	if s != nil {
		b.ReportMetric(float64(sent)/float64(b.N), "sent/lock")
	}
}

func together(ctx context.Context, members []*member, do func(context.Context, *member) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, m := range members {
		g.Go(func() error { return do(ctx, m) })
	}
	return g.Wait()
}
