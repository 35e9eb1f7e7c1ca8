package otelhook

import (
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/phpgao/elock/locker"
)

// ScopeName is the instrumentation scope of all spans and metrics.
const ScopeName = "github.com/phpgao/elock/otelhook"

// A Hook is a locker.Hook that emits spans and metrics. It may serve several
// Lockers, and its methods may be called from several goroutines.
type Hook struct {
	locker.NopHook // for methods that are added later

	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	metrics    metrics
	attrs      []attribute.KeyValue // of the user, on all spans

	client, internal []trace.SpanStartOption // made once: they would be allocated for spans that are not recorded
}

var _ locker.Hook = (*Hook)(nil)

// New returns a Hook. It fails only if the MeterProvider refuses an instrument.
func New(opts ...Option) (*Hook, error) {
	c := newConfig(opts)
	h := &Hook{
		tracer:     c.tracers.Tracer(ScopeName, trace.WithInstrumentationVersion(version())),
		propagator: c.propagator,
		attrs:      c.attrs,
		client:     []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient)},
		internal:   []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindInternal)},
	}
	meter := c.meters.Meter(ScopeName, metric.WithInstrumentationVersion(version()))
	var err error
	if h.metrics, err = newMetrics(meter, c.attrs); err != nil {
		return nil, errors.Join(errors.New("otelhook: instruments refused"), err)
	}
	return h, nil
}
