package otelhook_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/otelhook"
)

// A contender is a Locker with one kind of hook, or none.
type contender struct {
	name   string
	hook   []otelhook.Option // nil for no hook
	spans  *tracetest.InMemoryExporter
	locker *locker.Locker
}

// contenders differ in tracing. With an SDK, metrics are on in both.
func contenders(b *testing.B) []*contender {
	s := etcdtest.Start(b)
	meters := func() otelhook.Option {
		return otelhook.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())))
	}
	memory := tracetest.NewInMemoryExporter()
	all := []*contender{
		{name: "none"},
		{name: "noop", hook: []otelhook.Option{
			otelhook.WithTracerProvider(tracenoop.NewTracerProvider()),
			otelhook.WithMeterProvider(metricnoop.NewMeterProvider()),
		}},
		{name: "unsampled", hook: []otelhook.Option{
			otelhook.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))),
			meters(),
		}},
		{name: "memory", spans: memory, hook: []otelhook.Option{
			otelhook.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithBatcher(memory))),
			meters(),
		}},
	}
	client, prefix := s.Client(b), s.Prefix(b)
	for _, c := range all {
		opts := []locker.Option{locker.WithPrefix(prefix + "/" + c.name)}
		if c.hook != nil {
			hook, err := otelhook.New(c.hook...)
			if err != nil {
				b.Fatal(err)
			}
			opts = append(opts, locker.WithHook(hook))
		}
		c.locker = newLocker(b, client, opts...)
		c.pair(b) // grants the lease
	}
	return all
}

func (c *contender) pair(b *testing.B) {
	h, err := c.locker.Acquire(context.Background(), key)
	if err != nil {
		b.Fatal(err)
	}
	if err := h.Release(context.Background()); err != nil {
		b.Fatal(err)
	}
}

// forget keeps memory from growing with b.N.
func (c *contender) forget() {
	if c.spans != nil {
		c.spans.Reset()
	}
}

func BenchmarkHook(b *testing.B) {
	for _, c := range contenders(b) {
		b.Run("impl="+c.name, func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				c.pair(b)
				if n++; n%1000 == 0 {
					c.forget()
				}
			}
		})
	}
}

// BenchmarkHookRatio lets the contenders take turns, and compares each with
// none in the same round, so that a noisy machine disturbs all alike. A turn is
// long enough for the caches to be a program's that has one hook. The ratio of
// none with itself, as control, shows the noise that is left.
func BenchmarkHookRatio(b *testing.B) {
	const turn = 50
	all := contenders(b)
	all = append(all, &contender{name: "control", locker: all[0].locker})
	ratios := make([][]float64, len(all))
	for b.Loop() {
		took := make([]float64, len(all))
		for _, at := range rand.Perm(len(all)) { // nobody always follows the same one
			pairs := make([]float64, turn)
			for i := range pairs {
				start := time.Now()
				all[at].pair(b)
				pairs[i] = float64(time.Since(start))
			}
			took[at] = median(pairs)
			all[at].forget()
		}
		for i := range all {
			ratios[i] = append(ratios[i], took[i]/took[0])
		}
	}
	for i, c := range all[1:] {
		b.ReportMetric(median(ratios[i+1]), c.name+"/none")
	}
}

func median(vs []float64) float64 {
	slices.Sort(vs)
	return vs[len(vs)/2]
}
