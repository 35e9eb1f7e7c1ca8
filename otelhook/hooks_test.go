package otelhook_test

import (
	"context"
	"testing"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/otelhook"
)

func newHook(t *testing.T, opts ...otelhook.Option) *otelhook.Hook {
	t.Helper()
	hook, err := otelhook.New(opts...)
	if err != nil {
		t.Fatal(err)
	}
	return hook
}

// One hook has the traces and another the metrics.
func TestAHookWithoutTracesLeavesThoseOfAnotherAlone(t *testing.T) {
	t.Parallel()
	for _, tracesFirst := range []bool{true, false} {
		w := newWorld(t)
		p := w.process("p", quickMonitor)
		hooks := []locker.Hook{
			newHook(t, otelhook.WithTracerProvider(p.tracers), otelhook.WithMeterProvider(metricnoop.NewMeterProvider())),
			newHook(t, otelhook.WithTracerProvider(tracenoop.NewTracerProvider()), otelhook.WithMeterProvider(p.meters)),
		}
		if !tracesFirst {
			hooks[0], hooks[1] = hooks[1], hooks[0]
		}
		l := locktest.New(t, p.client, locker.WithPrefix(w.prefix), locker.WithHook(hooks...), quickMonitor)
		ctx, span := p.request("request")
		_ = l.RunInLock(ctx, key, func(ctx context.Context, h *locker.Hold) error {
			_, work := p.tracers.Tracer("test").Start(ctx, "work")
			defer work.End()
			locktest.Receive(t, h.Context().Done())
			return nil
		}, locker.MaxHeld(500*time.Millisecond))
		span.End()
		p.untilEnded(t, 5)
		if err := l.Close(); err != nil { // waits for the hooks, of which one may come after the spans
			t.Fatal(err)
		}
		want(t, `
			request in p
				elock.acquire (client) elock.key=space/key elock.mode=exclusive elock.outcome=acquired elock.token=#1 elock.try=false
				elock.hold (internal) Error: "locker: lock held longer than allowed" elock.key=space/key elock.mode=exclusive elock.outcome=max_held elock.token=#1 elock.wait=… error.type=max_held
					work
					elock.timeout (internal) elock.held=… elock.key=space/key elock.limit=0.5 elock.mode=exclusive elock.outcome=released elock.token=#1
			`, w.picture())
		want(t, `
			elock.acquire.duration{elock.outcome=acquired,elock.space=space} s count 1
			elock.hold.duration{elock.outcome=max_held,elock.space=space} s count 1
			elock.holds{elock.space=space} {hold} up and down 0
			elock.timeouts{elock.outcome=released,elock.space=space} {hold} up 1
			`, p.numbers(t))
	}
}

func TestOneHookServesSeveralLockersAtOnceAlsoOneUnderAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.process("p")
	hook := newHook(t, otelhook.WithTracerProvider(p.tracers), otelhook.WithMeterProvider(p.meters))
	outer := locktest.New(t, p.client, locker.WithPrefix(w.prefix+"/outer"), locker.WithHook(hook))
	inner := locktest.New(t, p.client, locker.WithPrefix(w.prefix+"/inner"), locker.WithHook(hook))
	err := outer.RunInLock(t.Context(), key, func(ctx context.Context, _ *locker.Hold) error {
		return inner.RunInLock(ctx, other, func(context.Context, *locker.Hold) error { return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	want(t, `
		elock.acquire in p (client) elock.key=space/key elock.mode=exclusive elock.outcome=acquired elock.token=#1 elock.try=false
			elock.hold (internal) elock.key=space/key elock.mode=exclusive elock.outcome=released elock.token=#1 elock.wait=…
				elock.acquire (client) elock.key=space/other elock.mode=exclusive elock.outcome=acquired elock.token=#2 elock.try=false
				elock.hold (internal) elock.key=space/other elock.mode=exclusive elock.outcome=released elock.token=#2 elock.wait=…
		`, w.picture())
}
