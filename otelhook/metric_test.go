package otelhook_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/otelhook"
)

func TestMetricsCountBySpaceAndOutcome(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.process("a"), w.process("b", quickMonitor)
	ctx := context.Background()
	orders := keyspace.MustNew[int]("shop/order")

	held := a.acquire(t, ctx, orders.Key(1))
	locktest.Release(t, a.acquire(t, ctx, orders.Key(2)))
	waits := locktest.Async(t, func() *locker.Hold { return b.acquire(t, ctx, orders.Key(1)) })
	b.untilEvent(t, "elock.queued", 1)
	if _, err := b.TryAcquire(ctx, orders.Key(1)); !errors.Is(err, locker.ErrLocked) {
		t.Error(err)
	}
	evicted := b.acquire(t, ctx, keyspace.MustParse("alone"))
	b.acquire(t, ctx, key, overdue)
	locktest.Until(t, "it timed out", func() bool { return len(b.outcomes("elock.timeout")) == 1 })

	want(t, `
		elock.acquire.duration{elock.outcome=acquired,elock.space=shop/order} s count 2
		elock.hold.duration{elock.outcome=released,elock.space=shop/order} s count 1
		elock.holds{elock.space=shop/order} {hold} up and down 1
		`, a.numbers(t))
	want(t, `
		elock.acquire.duration{elock.outcome=acquired,elock.space=space} s count 1
		elock.acquire.duration{elock.outcome=acquired,elock.space=} s count 1
		elock.acquire.duration{elock.outcome=locked,elock.space=shop/order} s count 1
		elock.hold.duration{elock.outcome=max_held,elock.space=space} s count 1
		elock.holds{elock.space=space} {hold} up and down 0
		elock.holds{elock.space=} {hold} up and down 1
		elock.timeouts{elock.outcome=released,elock.space=space} {hold} up 1
		elock.waiters{elock.space=shop/order} {acquire} up and down 1
		`, b.numbers(t))

	if _, err := a.Evict(ctx, evicted.Key()); err != nil {
		t.Fatal(err)
	}
	locktest.Receive(t, evicted.Context().Done())
	locktest.Release(t, held)
	locktest.Release(t, waits())
	locktest.Until(t, "the eviction is counted", func() bool { return len(b.outcomes("elock.hold")) == 3 })
	want(t, `
		elock.acquire.duration{elock.outcome=acquired,elock.space=shop/order} s count 1
		elock.acquire.duration{elock.outcome=acquired,elock.space=space} s count 1
		elock.acquire.duration{elock.outcome=acquired,elock.space=} s count 1
		elock.acquire.duration{elock.outcome=locked,elock.space=shop/order} s count 1
		elock.hold.duration{elock.outcome=evicted,elock.space=} s count 1
		elock.hold.duration{elock.outcome=max_held,elock.space=space} s count 1
		elock.hold.duration{elock.outcome=released,elock.space=shop/order} s count 1
		elock.holds{elock.space=shop/order} {hold} up and down 0
		elock.holds{elock.space=space} {hold} up and down 0
		elock.holds{elock.space=} {hold} up and down 0
		elock.lost{elock.outcome=evicted,elock.space=} {hold} up 1
		elock.timeouts{elock.outcome=released,elock.space=space} {hold} up 1
		elock.waiters{elock.space=shop/order} {acquire} up and down 0
		`, b.numbers(t))
}

func TestDurationsAreInSecondsAndLeadToTheTrace(t *testing.T) {
	t.Parallel()
	p := newWorld(t).process("p")
	h := p.acquire(t, t.Context(), key)
	time.Sleep(50 * time.Millisecond) // the length of the hold
	locktest.Release(t, h)
	trace := p.spans.Ended()[0].SpanContext().TraceID()
	for _, m := range p.collect(t) {
		data, ok := m.Data.(metricdata.Histogram[float64])
		if !ok {
			continue
		}
		point := data.DataPoints[0]
		if m.Name == "elock.hold.duration" && (point.Sum < 0.05 || point.Sum > locktest.Wait.Seconds()) {
			t.Errorf("held %v", point.Sum)
		}
		if len(point.Exemplars) != 1 || string(point.Exemplars[0].TraceID) != string(trace[:]) {
			t.Errorf("%s has exemplars %v, want trace %v", m.Name, point.Exemplars, trace)
		}
	}
}

func TestTheUsersAttributesAreOnEverySpanAndMeasurement(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	region := attribute.String("region", "north")
	p := w.process("p", quickMonitor)
	hook, err := otelhook.New(otelhook.WithTracerProvider(p.tracers), otelhook.WithMeterProvider(p.meters),
		otelhook.WithAttributes(region))
	if err != nil {
		t.Fatal(err)
	}
	l := locktest.New(t, p.client, locker.WithPrefix(w.prefix), locker.WithHook(hook), quickMonitor)
	if _, err := l.Acquire(t.Context(), key, overdue); err != nil {
		t.Fatal(err)
	}
	p.untilEnded(t, 3)
	want(t, `
		elock.acquire in p (client) elock.key=space/key elock.mode=exclusive elock.outcome=acquired elock.token=#1 elock.try=false region=north
			elock.hold (internal) Error: "locker: lock held longer than allowed" elock.key=space/key elock.mode=exclusive elock.outcome=max_held elock.token=#1 elock.wait=… error.type=max_held region=north
				elock.timeout (internal) elock.held=… elock.key=space/key elock.limit=0.001 elock.mode=exclusive elock.outcome=released elock.token=#1 region=north
		`, w.picture())
	want(t, `
		elock.acquire.duration{elock.outcome=acquired,elock.space=space,region=north} s count 1
		elock.hold.duration{elock.outcome=max_held,elock.space=space,region=north} s count 1
		elock.holds{elock.space=space,region=north} {hold} up and down 0
		elock.timeouts{elock.outcome=released,elock.space=space,region=north} {hold} up 1
		`, p.numbers(t))
}
