package work

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Queue is so many processes that wait for one key in etcd's queue, some on a connection: how long it takes until all are in
// it, and then until each has had the lock once. Goroutines of one process would wait in a queue of its own.
func Queue(b *testing.B, s *Site, impl Impl, n int) {
	ctx := b.Context()
	watched := s.client(b)
	few := s.crowded(b, 20)
	members := contend(b, few, impl, n+1, 1)
	holder, waiters := members[0], members[1:]
	holds := holder.next()
	if err := take(ctx, members, 1); err != nil { // grants leases
		b.Fatal(err)
	}
	var entered, left time.Duration
	var entering, leaving int64
	for _, m := range members {
		m.handovers = histogram{}
	}
	for range b.N {
		if err := holds.Lock(ctx); err != nil {
			b.Fatal(err)
		}
		holder.crowd.last.Store(nil)
		if err := holder.crowd.enter(holder); err != nil {
			b.Fatal(err)
		}
		sent, began := few.count(), time.Now()
		done := make(chan error, 1)
		go func() {
			done <- together(ctx, waiters, func(ctx context.Context, m *member) error { return m.round(ctx) })
		}()
		if !queued(b, watched, few, impl, n+1) {
			b.Fatalf("not in the queue after %v", patience)
		}
		entered += time.Since(began)
		entering += few.count() - sent

		sent, began = few.count(), time.Now()
		holder.crowd.leave(holder)
		if err := holds.Unlock(ctx); err != nil {
			b.Fatal(err)
		}
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		left += time.Since(began)
		leaving += few.count() - sent
	}
	h := handovers(members)
	waits := float64(n) * float64(b.N)
	b.ReportMetric(float64(entered+left)/waits, "ns/op")
	b.ReportMetric(float64(entered)/waits, "enter-ns")
	b.ReportMetric(float64(entering)/waits, "sent/enter")
	b.ReportMetric(float64(left)/waits, "leave-ns")
	b.ReportMetric(waits/left.Seconds(), "handovers/s")
	b.ReportMetric(float64(h.quantile(0.5)), "handover-p50-ns")
	b.ReportMetric(float64(h.quantile(0.99)), "handover-p99-ns")
	b.ReportMetric(float64(leaving)/waits, "sent/handover")
}

// patience is how long queued waits.
const patience = 2 * time.Minute

// queued returns when so many keys of an implementation are in etcd, or they are not after a while.
func queued(b *testing.B, client *clientv3.Client, s *Site, impl Impl, n int) bool {
	b.Helper()
	pause := min(time.Duration(n)*10*time.Microsecond, 50*time.Millisecond)    // a count takes longer, too
	for began := time.Now(); time.Since(began) < patience; time.Sleep(pause) { // the period of a poll
		there := 0
		for _, dir := range []string{"/" + s.prefix + ":/", "/" + s.prefix + "/"} { // of Lockers, and of the others
			resp, err := client.Get(b.Context(), dir+impl.Name+"/", clientv3.WithPrefix(), clientv3.WithCountOnly())
			if err != nil {
				b.Fatal(err)
			}
			there += int(resp.Count)
		}
		if there >= n {
			return true
		}
	}
	return false
}

// crowded is the same etcd for many processes, which share so many connections. It counts what they send.
func (s *Site) crowded(tb testing.TB, connections int) *Site {
	tb.Helper()
	few := s.apart()
	clients := make([]*clientv3.Client, connections)
	for i := range clients {
		clients[i] = few.client(tb)
	}
	next := 0
	few.dial = func(testing.TB, ...func(*clientv3.Config)) *clientv3.Client {
		next++
		return clients[next%connections]
	}
	return few
}
