package otelhook

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// buckets are in seconds: a free lock takes less than a millisecond, a batch
// job holds one for minutes.
var buckets = []float64{
	.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5,
	1, 2.5, 5, 10, 30, 60, 120, 300, 600,
}

// metrics are the instruments.
type metrics struct {
	acquire, hold  metric.Float64Histogram
	holds, waiters metric.Int64UpDownCounter
	atRisk         metric.Int64UpDownCounter
	lost, timeouts metric.Int64Counter
	labels         *labels
}

func newMetrics(m metric.Meter, attrs []attribute.KeyValue) (metrics, error) {
	var errs [7]error
	ms := metrics{labels: newLabels(attrs)}
	ms.acquire, errs[0] = m.Float64Histogram("elock.acquire.duration",
		metric.WithDescription("Time from the call of an acquire to the grant or the failure."),
		metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(buckets...))
	ms.hold, errs[1] = m.Float64Histogram("elock.hold.duration",
		metric.WithDescription("Time from the grant of a lock to the end of the hold."),
		metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(buckets...))
	ms.holds, errs[2] = m.Int64UpDownCounter("elock.holds",
		metric.WithDescription("Locks held now."), metric.WithUnit("{hold}"))
	ms.waiters, errs[3] = m.Int64UpDownCounter("elock.waiters",
		metric.WithDescription("Acquires that wait behind others now."), metric.WithUnit("{acquire}"))
	ms.lost, errs[4] = m.Int64Counter("elock.lost",
		metric.WithDescription("Holds that were lost before their release."), metric.WithUnit("{hold}"))
	ms.timeouts, errs[5] = m.Int64Counter("elock.timeouts",
		metric.WithDescription("Holds that the monitor ended because they lasted too long."), metric.WithUnit("{hold}"))
	ms.atRisk, errs[6] = m.Int64UpDownCounter("elock.at_risk",
		metric.WithDescription("Locks held now whose renewals are overdue."), metric.WithUnit("{hold}"))
	return ms, errors.Join(errs[:]...)
}

// waits counts one more waiter and reports whether anybody counts: only then
// may it be taken off again, should a provider come or go meanwhile.
func (m *metrics) waits(ctx context.Context, space string) bool {
	if !m.waiters.Enabled(ctx) {
		return false
	}
	m.waiters.Add(ctx, 1, m.labels.of(space, "").add...)
	return true
}

func (m *metrics) waited(ctx context.Context, space string) {
	m.waiters.Add(ctx, -1, m.labels.of(space, "").add...)
}

func (m *metrics) acquired(ctx context.Context, space string, o outcome, d time.Duration) {
	if m.acquire.Enabled(ctx) {
		m.acquire.Record(ctx, d.Seconds(), m.labels.of(space, o.name).record...)
	}
}

// holdStarts is waits for holds.
func (m *metrics) holdStarts(ctx context.Context, space string) bool {
	if !m.holds.Enabled(ctx) {
		return false
	}
	m.holds.Add(ctx, 1, m.labels.of(space, "").add...)
	return true
}

// risks is waits for holds at risk.
func (m *metrics) risks(ctx context.Context, space string) bool {
	if !m.atRisk.Enabled(ctx) {
		return false
	}
	m.atRisk.Add(ctx, 1, m.labels.of(space, "").add...)
	return true
}

func (m *metrics) safe(ctx context.Context, space string) {
	m.atRisk.Add(ctx, -1, m.labels.of(space, "").add...)
}

func (m *metrics) holdEnds(ctx context.Context, space string, o outcome, d time.Duration, counted bool) {
	if counted {
		m.holds.Add(ctx, -1, m.labels.of(space, "").add...)
	}
	if m.hold.Enabled(ctx) {
		m.hold.Record(ctx, d.Seconds(), m.labels.of(space, o.name).record...)
	}
	if (o.name == "lost" || o.name == "evicted") && m.lost.Enabled(ctx) {
		m.lost.Add(ctx, 1, m.labels.of(space, o.name).add...)
	}
}

func (m *metrics) timedOut(ctx context.Context, space string, o outcome) {
	if m.timeouts.Enabled(ctx) {
		m.timeouts.Add(ctx, 1, m.labels.of(space, o.name).add...)
	}
}
