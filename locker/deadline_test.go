package locker_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// A handover is how a lock that was lost went to a rival.
type handover struct {
	ended bool          // the context of the hold had, when the rival got the lock
	knew  bool          // the holder would have known, if it had asked
	lead  time.Duration // by how much the context ended earlier
	err   error         // of the rival
}

// inTime reports whether the holder was told before the rival held, or later only by as much as timers were late.
func (o handover) inTime(late time.Duration) bool { return o.knew && (o.ended || -o.lead <= late) }

// handOver waits until rival gets the lock that h loses.
func handOver(h *locker.Hold, rival *locker.Locker) handover {
	lost := make(chan time.Time, 1)
	context.AfterFunc(h.Context(), func() { lost <- time.Now() })
	ctx, cancel := context.WithTimeout(context.Background(), locktest.Wait)
	defer cancel()
	next, err := rival.Acquire(ctx, h.Key())
	granted := time.Now()
	o := handover{ended: h.Context().Err() != nil, err: err}
	o.knew = h.Err() != nil
	if err == nil {
		o.err = next.Release(ctx)
	}
	select {
	case at := <-lost:
		o.lead = granted.Sub(at)
	case <-ctx.Done():
	}
	return o
}

// lateness returns what tells by how much a timer has been late so far: a busy machine is.
func lateness(tb testing.TB) func() time.Duration {
	var worst atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		const nap = time.Millisecond
		for ctx.Err() == nil {
			began := time.Now()
			time.Sleep(nap)
			worst.Store(max(worst.Load(), int64(time.Since(began)-nap)))
		}
	})
	tb.Cleanup(wg.Wait)
	tb.Cleanup(cancel)
	return func() time.Duration { return time.Duration(worst.Load()) }
}

// The network ends at a random moment of a hold, by refusal or
// in silence.
func TestAHolderKnowsOfItsLossBeforeARivalHolds(t *testing.T) {
	t.Parallel()
	const batches, batch, ttl = 5, 20, time.Second
	// etcd grants no TTL below one and a half of its election timeouts.
	s := etcdtest.StartOwn(t, "--heartbeat-interval=20", "--election-timeout=200")
	opts := []locker.Option{locker.WithTTL(ttl), locker.WithLogger(slog.New(slog.DiscardHandler))}
	b := newLocker(t, s.Client(t), opts...)
	began, late := time.Now(), lateness(t)
	var closing sync.WaitGroup
	defer closing.Wait()
	var leads []time.Duration
	for i := range batches {
		nets := make([]*etcdtest.Proxied, batch)
		results := make(chan handover, batch)
		for j := range nets {
			nets[j] = etcdtest.Proxy(t, s.Endpoint())
			a, err := locker.New(nets[j].Client(t), opts...)
			locktest.Must(t, err)
			h := locktest.Acquire(t, a, keyspace.MustParse(strconv.Itoa(i*batch+j)))
			closing.Go(func() {
				results <- handOver(h, b)
				_ = a.Close() // its network is gone
			})
		}
		for _, net := range nets {
			// One after the other, at random distances, within one TTL on average.
			time.Sleep(rand.N(2 * ttl / batch))
			if rand.N(2) == 0 {
				net.Cut(t)
			} else {
				net.BlackHole(t)
			}
		}
		for range batch {
			o := locktest.Receive(t, results)
			locktest.Must(t, o.err)
			if !o.inTime(late()) {
				t.Errorf("a rival got the lock %v before its holder was told of the loss; known: %v; timers were late by %v", -o.lead, o.knew, late())
			}
			leads = append(leads, o.lead)
		}
	}
	t.Logf("%d rounds in %v; the holder knew %v to %v before the rival held", len(leads),
		time.Since(began).Round(time.Millisecond), slices.Min(leads), slices.Max(leads))
}

// The answer to a renewal comes late, and then the network
// ends. The lease is as old as the renewal, not as the answer.
func TestADeadlineCountsFromWhenTheRenewalWasSent(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	opts := []locker.Option{locker.WithPrefix(s.Prefix(t)), locker.WithTTL(2 * time.Second)}
	var renewals atomic.Int64
	a := newLocker(t, faulty(s.Client(t), &faults{
		before: func(_ context.Context, c call) error {
			switch c.kind {
			case "ttl", "watch":
				return errNet
			case "renew":
				if renewals.Add(1) > 1 {
					return errNet
				}
			}
			return nil
		},
		after: func(_ context.Context, c call, err error) error {
			if c.kind == "renew" {
				time.Sleep(time.Second) // a slow network
			}
			return err
		},
	}), opts...)
	late := lateness(t)
	h := locktest.Acquire(t, a, key)
	o := handOver(h, newLocker(t, s.Client(t), opts...))
	locktest.Must(t, o.err)
	if !o.inTime(late()) {
		t.Fatalf("a rival got the lock %v before its holder was told of the loss; known: %v; timers were late by %v", -o.lead, o.knew, late())
	}
	locktest.WantLost(t, h.Err(), locker.ReasonDeadline)
	if renewals.Load() < 2 {
		t.Error("the lock was not renewed; this test is about a renewal")
	}
}
