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
	"github.com/phpgao/elock/internal/locktest"
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

func contenders(b *testing.B) []*contender {
	b.Helper()
	s := etcdtest.Start(b)
	tracers := func(o sdktrace.TracerProviderOption) otelhook.Option {
		p := sdktrace.NewTracerProvider(o)
		b.Cleanup(func() { _ = p.Shutdown(context.Background()) })
		return otelhook.WithTracerProvider(p)
	}
	metrics := func() otelhook.Option {
		return otelhook.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())))
	}
	noTracers := otelhook.WithTracerProvider(tracenoop.NewTracerProvider())
	noMetrics := otelhook.WithMeterProvider(metricnoop.NewMeterProvider())
	unsampled := sdktrace.WithSampler(sdktrace.NeverSample())
	memory := tracetest.NewInMemoryExporter()
	all := []*contender{
		{name: "none"},
		{name: "noop", hook: []otelhook.Option{noTracers, noMetrics}},
		{name: "unsampled", hook: []otelhook.Option{tracers(unsampled), noMetrics}},
		{name: "unsampled+metrics", hook: []otelhook.Option{tracers(unsampled), metrics()}},
		{name: "memory", hook: []otelhook.Option{tracers(sdktrace.WithBatcher(memory)), metrics()}, spans: memory},
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
		c.locker = locktest.New(b, client, opts...)
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

// BenchmarkHookRatio lets the contenders take turns, so that a noisy machine
// disturbs all alike, and compares their medians. The first pair of a turn does
// not count: it finds the caches full of somebody else. What none has as its
// own control shows the noise that is left.
func BenchmarkHookRatio(b *testing.B) {
	const turn = 5
	all := contenders(b)
	all = append(all, &contender{name: "control", locker: all[0].locker})
	took := make([][]time.Duration, len(all))
	for b.Loop() {
		for _, at := range rand.Perm(len(all)) { // nobody always follows the same one
			all[at].pair(b)
			for range turn {
				start := time.Now()
				all[at].pair(b)
				took[at] = append(took[at], time.Since(start))
			}
			all[at].forget()
		}
	}
	none := median(took[0])
	b.ReportMetric(none, "none-ns")
	for i, c := range all[1:] {
		b.ReportMetric(median(took[i+1])/none, c.name+"/none")
	}
}

func median(ds []time.Duration) float64 {
	slices.Sort(ds)
	return float64(ds[len(ds)/2])
}
