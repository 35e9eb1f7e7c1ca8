package otelhook

import (
	"reflect"
	"slices"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// An Option configures a Hook. A nil one does nothing.
type Option func(*config)

type config struct {
	tracers    trace.TracerProvider
	meters     metric.MeterProvider
	propagator propagation.TextMapPropagator
	attrs      []attribute.KeyValue
}

func newConfig(opts []Option) config {
	var c config
	for _, o := range opts {
		if o != nil {
			o(&c)
		}
	}
	if isNil(c.tracers) {
		c.tracers = otel.GetTracerProvider()
	}
	if isNil(c.meters) {
		c.meters = otel.GetMeterProvider()
	}
	if isNil(c.propagator) {
		c.propagator = propagation.TraceContext{}
	}
	return c
}

// isNil also sees the nil pointer of an SDK's type that was never set.
func isNil(v any) bool {
	r := reflect.ValueOf(v)
	return !r.IsValid() || r.Kind() == reflect.Pointer && r.IsNil()
}

// WithTracerProvider sets where spans come from. The default, and what nil
// means, is the global provider.
func WithTracerProvider(p trace.TracerProvider) Option {
	return func(c *config) { c.tracers = p }
}

// WithMeterProvider sets where metrics go. The default, and what nil means, is
// the global provider.
func WithMeterProvider(p metric.MeterProvider) Option {
	return func(c *config) { c.meters = p }
}

// WithPropagator sets how an acquire span's context is written into the lock's
// key in etcd, and read from there by those who wait. All processes that share
// a lock need the same. The default, and what nil means, is W3C Trace Context.
//
// It is not the global propagator: that does nothing until it is set, and often
// carries baggage, which has no business in etcd.
func WithPropagator(p propagation.TextMapPropagator) Option {
	return func(c *config) { c.propagator = p }
}

// WithAttributes adds attributes to every span and every measurement.
func WithAttributes(attrs ...attribute.KeyValue) Option {
	return func(c *config) { c.attrs = append(c.attrs, slices.Clone(attrs)...) }
}
