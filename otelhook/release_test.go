package otelhook_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/phpgao/elock/locker"
)

// lateKV does something before the next transaction, which then finds it done.
type lateKV struct {
	clientv3.KV
	before chan func()
}

func (kv lateKV) Txn(ctx context.Context) clientv3.Txn {
	select {
	case f := <-kv.before:
		f()
	default:
	}
	return kv.KV.Txn(ctx)
}

func TestAHoldThatItsReleaseFindsLostIsLost(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		lose          func(other *process)
		outcome, ends string
	}{
		{"key deleted", func(other *process) { deleteKey(other, key) }, "lost", "lost Error key_deleted"},
		{"lease expired", func(other *process) { loseLease(other, key) }, "lost", "lost Error lease_expired"},
		{"evicted", func(other *process) { _, _ = other.Evict(context.Background(), key) }, "evicted", "evicted Error evicted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			client, other := w.server.Client(t), w.process("other")
			late := lateKV{client.KV, make(chan func(), 1)}
			client.KV = late
			p := w.processOn(client, "p")

			began := time.Now()
			h := p.acquire(t, t.Context(), key)
			var sent, answered time.Time
			late.before <- func() {
				sent = time.Now() // its user has let go
				tt.lose(other)
				answered = time.Now()
			}
			var lost *locker.LostError
			if err := h.Release(t.Context()); !errors.As(err, &lost) {
				t.Fatalf("Release: %v", err)
			}

			if diff := cmp.Diff([]string{tt.ends}, p.outcomes("elock.hold")); diff != "" {
				t.Error(diff)
			}
			want(t, `
				elock.acquire.duration{elock.outcome=acquired,elock.space=space} s count 1
				elock.hold.duration{elock.outcome=`+tt.outcome+`,elock.space=space} s count 1
				elock.holds{elock.space=space} {hold} up and down 0
				elock.lost{elock.outcome=`+tt.outcome+`,elock.space=space} {hold} up 1
				`, p.numbers(t))
			hold := p.spans.Ended()[1]
			if got := hold.Status().Description; got != lost.Error() {
				t.Errorf("status %q, Release said %q", got, lost)
			}
			if hold.EndTime().Before(answered) {
				t.Error("the span ended before etcd had answered")
			}
			for _, m := range p.collect(t) {
				if m.Name != "elock.hold.duration" {
					continue
				}
				held := m.Data.(metricdata.Histogram[float64]).DataPoints[0].Sum
				if most := sent.Sub(began).Seconds(); held > most {
					t.Errorf("held %vs; its user let go after %vs", held, most)
				}
			}
		})
	}
}
