package otelhook_test

import (
	"context"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/otelhook"
)

// Not parallel: it sets the global providers.
func TestNilProvidersAndNoOptionsMeanTheGlobalOnes(t *testing.T) {
	w := newWorld(t)
	for _, opts := range [][]otelhook.Option{
		nil,
		{nil, otelhook.WithTracerProvider(nil), otelhook.WithMeterProvider(nil), otelhook.WithPropagator(nil)},
		{otelhook.WithTracerProvider((*sdktrace.TracerProvider)(nil)), otelhook.WithMeterProvider((*sdkmetric.MeterProvider)(nil))},
	} {
		p := w.process("p")
		otel.SetTracerProvider(p.tracers)
		otel.SetMeterProvider(p.meters)
		hook, err := otelhook.New(opts...)
		otel.SetTracerProvider(tracenoop.NewTracerProvider())
		otel.SetMeterProvider(metricnoop.NewMeterProvider())
		if err != nil {
			t.Fatal(err)
		}
		l := locktest.New(t, p.client, locker.WithPrefix(w.prefix), locker.WithHook(hook))
		h, err := l.Acquire(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		q, err := l.Inspect(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		locktest.Release(t, h)
		if n := len(p.spans.Ended()); n != 2 {
			t.Errorf("%d spans", n)
		}
		if p.numbers(t) == "" {
			t.Error("no metrics")
		}
		if q.Holders[0].Annotations["traceparent"] == "" {
			t.Errorf("got annotations %q", q.Holders[0].Annotations)
		}
	}
}

func TestAProviderThatIsShutDownInMidLifeDoesNoHarm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.process("a"), w.process("b")
	held := a.acquire(t, t.Context(), key)
	waits := locktest.Async(t, func() *locker.Hold { return b.acquire(t, t.Context(), key) })
	b.untilEvent(t, "elock.queued", 1)
	for _, p := range w.all {
		if err := p.tracers.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := p.meters.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
	locktest.Release(t, held)
	locktest.Release(t, waits())
	locktest.Release(t, a.acquire(t, t.Context(), key))
}

func TestASpanThatIsNotRecordedCostsItsContextAndNothingElse(t *testing.T) {
	ctx := context.Background()
	providers := map[string]trace.TracerProvider{
		"noop":      tracenoop.NewTracerProvider(),
		"unsampled": sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())),
	}
	for name, p := range providers {
		hook, err := otelhook.New(otelhook.WithTracerProvider(p), otelhook.WithMeterProvider(metricnoop.NewMeterProvider()))
		if err != nil {
			t.Fatal(err)
		}
		tracer := p.Tracer("test")
		start := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient)}
		bare := testing.AllocsPerRun(100, func() {
			ctx, span := tracer.Start(ctx, "acquire", start...)
			_, hold := tracer.Start(ctx, "hold", start...)
			hold.End()
			span.End()
		})
		pair := testing.AllocsPerRun(100, func() {
			ctx, notes := hook.AcquireStart(ctx, locker.AcquireStartData{Key: key, TTL: time.Second})
			if notes != nil {
				t.Errorf("%s: notes %q", name, notes)
			}
			hook.Blocked(ctx, locker.BlockedData{Key: key, Ahead: 1})
			hook.AcquireEnd(ctx, locker.AcquireEndData{Key: key, Token: 1})
			ctx = hook.HoldStart(ctx, locker.HoldStartData{Key: key, Token: 1})
			hook.HoldEnd(ctx, locker.HoldEndData{Key: key, Token: 1, Cause: locker.ErrReleased})
		})
		const contexts = 2 // one for the acquire, one for the hold
		if pair > bare+contexts {
			t.Errorf("%s: %v allocations, the two bare spans have %v", name, pair, bare)
		}
	}
}

func TestTwoHooksOfOneLockerKeepApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	second := w.process("second")
	hook, err := otelhook.New(otelhook.WithTracerProvider(second.tracers), otelhook.WithMeterProvider(second.meters))
	if err != nil {
		t.Fatal(err)
	}
	first := w.process("first", locker.WithHook(hook))
	locktest.Release(t, first.acquire(t, t.Context(), key))
	for _, p := range w.all {
		if s, e := len(p.spans.Started()), len(p.spans.Ended()); s != 2 || e != 2 {
			t.Errorf("%s: started %d spans, ended %d", p.name, s, e)
		}
	}
}
