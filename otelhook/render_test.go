package otelhook_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/phpgao/elock/internal/locktest"
)

// A picture shows ended spans as a tree, in the order of their start.
type picture struct {
	strings.Builder
	tb     testing.TB
	owner  map[trace.SpanID]*process
	spans  map[trace.SpanID]sdktrace.ReadOnlySpan
	tokens []int64
}

func (w *world) picture() string {
	w.tb.Helper()
	p := &picture{
		tb:    w.tb,
		owner: make(map[trace.SpanID]*process),
		spans: make(map[trace.SpanID]sdktrace.ReadOnlySpan),
	}
	var all []sdktrace.ReadOnlySpan
	for _, proc := range w.all {
		for _, s := range proc.spans.Ended() {
			id := s.SpanContext().SpanID()
			p.owner[id], p.spans[id] = proc, s
			all = append(all, s)
			for _, a := range s.Attributes() {
				if a.Key == "elock.token" {
					p.tokens = append(p.tokens, a.Value.AsInt64())
				}
			}
		}
	}
	slices.Sort(p.tokens)
	p.tokens = slices.Compact(p.tokens)
	slices.SortStableFunc(all, func(a, b sdktrace.ReadOnlySpan) int { return a.StartTime().Compare(b.StartTime()) })
	for _, s := range all {
		if !s.Parent().IsValid() {
			p.draw(all, s, "")
		}
	}
	return p.String()
}

func (p *picture) draw(all []sdktrace.ReadOnlySpan, s sdktrace.ReadOnlySpan, indent string) {
	id := s.SpanContext().SpanID()
	fmt.Fprintf(p, "%s%s", indent, s.Name())
	if indent == "" {
		fmt.Fprintf(p, " in %s", p.owner[id].name)
	}
	if ours(s.InstrumentationScope()) {
		fmt.Fprintf(p, " (%v)", s.SpanKind())
	}
	if s.Status().Code != codes.Unset {
		fmt.Fprintf(p, " %v: %q", s.Status().Code, s.Status().Description)
	}
	fmt.Fprintln(p, p.attributes(s.Attributes()))
	for _, e := range s.Events() {
		fmt.Fprintf(p, "%s\tevent %s%s\n", indent, e.Name, p.attributes(e.Attributes))
	}
	for _, l := range s.Links() {
		fmt.Fprintf(p, "%s\tlink to %s%s\n", indent, p.linked(l), p.attributes(l.Attributes))
	}
	for _, child := range all {
		if child.Parent().SpanID() == id {
			if child.SpanContext().TraceID() != s.SpanContext().TraceID() {
				p.tb.Errorf("%s is not in the trace of its parent", child.Name())
			}
			p.draw(all, child, indent+"\t")
		}
	}
}

// linked names the span that a link points to by its token.
func (p *picture) linked(l sdktrace.Link) string {
	s := p.spans[l.SpanContext.SpanID()]
	if s == nil || s.SpanContext().TraceID() != l.SpanContext.TraceID() {
		return "a span that is nowhere"
	}
	for _, a := range s.Attributes() {
		if a.Key == "elock.token" {
			return fmt.Sprintf("%s of %s, token %s", s.Name(), p.owner[s.SpanContext().SpanID()].name, p.token(a.Value.AsInt64()))
		}
	}
	return fmt.Sprintf("%s of %s", s.Name(), p.owner[s.SpanContext().SpanID()].name)
}

// attributes are sorted. Tokens become ordinals, and durations dots.
func (p *picture) attributes(attrs []attribute.KeyValue) string {
	attrs = slices.Clone(attrs)
	slices.SortFunc(attrs, func(a, b attribute.KeyValue) int { return cmp.Compare(a.Key, b.Key) })
	var b strings.Builder
	for _, a := range attrs {
		v := a.Value.String()
		switch a.Key {
		case "elock.token", "elock.blocker.token":
			v = p.token(a.Value.AsInt64())
		case "elock.wait", "elock.held":
			if d := a.Value.AsFloat64(); d <= 0 || d > locktest.Wait.Seconds() {
				p.tb.Errorf("%s is %v", a.Key, d)
			}
			v = "…"
		}
		fmt.Fprintf(&b, " %s=%s", a.Key, v)
	}
	return b.String()
}

func (p *picture) token(t int64) string {
	if i, ok := slices.BinarySearch(p.tokens, t); ok {
		return fmt.Sprint("#", i+1)
	}
	return "#?"
}

// numbers shows the metrics of p, of histograms the counts alone.
func (p *process) numbers(tb testing.TB) string {
	tb.Helper()
	var lines []string
	for _, m := range p.collect(tb) {
		line := func(set attribute.Set, format string, v any) {
			var labels []string
			for _, a := range set.ToSlice() {
				labels = append(labels, fmt.Sprintf("%s=%s", a.Key, a.Value.String()))
			}
			lines = append(lines, fmt.Sprintf("%s{%s} %s "+format, m.Name, strings.Join(labels, ","), m.Unit, v))
		}
		switch data := m.Data.(type) {
		case metricdata.Sum[int64]:
			for _, d := range data.DataPoints {
				format := "up and down %d"
				if data.IsMonotonic {
					format = "up %d"
				}
				line(d.Attributes, format, d.Value)
			}
		case metricdata.Histogram[float64]:
			for _, d := range data.DataPoints {
				if first, last := d.Bounds[0], d.Bounds[len(d.Bounds)-1]; first != 100e-6 || last != 600 {
					tb.Errorf("%s has buckets from %v to %v", m.Name, first, last)
				}
				line(d.Attributes, "count %d", d.Count)
			}
		default:
			tb.Errorf("%s is a %T", m.Name, data)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func (p *process) collect(tb testing.TB) []metricdata.Metrics {
	tb.Helper()
	var data metricdata.ResourceMetrics
	if err := p.reader.Collect(context.Background(), &data); err != nil {
		tb.Fatal(err)
	}
	var all []metricdata.Metrics
	for _, s := range data.ScopeMetrics {
		if !ours(s.Scope) {
			tb.Errorf("metrics of %+v", s.Scope)
		}
		all = append(all, s.Metrics...)
	}
	return all
}
