package otelhook

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/phpgao/elock/locker"
)

// acquiring is the context of an acquire. Its hook's methods are called one
// after another.
type acquiring struct {
	context.Context
	hook    *Hook
	span    trace.Span
	caller  trace.Span        // around the acquire
	blocker trace.SpanContext // linked last
	try     bool
	blocked bool
	counted bool // among the waiters
}

// acquiringKey tells apart several hooks of one Locker.
type acquiringKey struct{ *Hook }

// innermostKey finds the last *acquiring or *holding of any Hook.
type innermostKey struct{}

func (a *acquiring) Value(key any) any {
	if key == (acquiringKey{a.hook}) || key == (innermostKey{}) {
		return a
	}
	return a.Context.Value(key)
}

func (h *Hook) acquiring(ctx context.Context) *acquiring {
	a, _ := ctx.Value(acquiringKey{h}).(*acquiring)
	return a
}

// AcquireStart starts a span, and returns its context to be written into the
// lock's key.
func (h *Hook) AcquireStart(ctx context.Context, d locker.AcquireStartData) (context.Context, map[string]string) {
	a := &acquiring{hook: h, caller: trace.SpanFromContext(ctx), try: d.Try}
	a.Context, a.span = h.tracer.Start(ctx, "elock.acquire", h.client...)
	if !a.span.IsRecording() {
		return a, nil
	}
	h.common(a.span)
	a.span.SetAttributes(keyKey.String(d.Key.String()), mode(d.Shared, d.Slots), tryKey.Bool(d.Try))
	notes := make(propagation.MapCarrier, 2)
	h.propagator.Inject(a.Context, notes)
	return a, notes
}

// Blocked links the acquire to that of the owner ahead.
func (h *Hook) Blocked(ctx context.Context, d locker.BlockedData) {
	a := h.acquiring(ctx)
	if a == nil {
		return
	}
	event := "elock.blocker_changed"
	switch {
	case a.try:
		event = "elock.locked"
	case !a.blocked:
		event = "elock.queued"
		a.counted = h.metrics.waits(ctx, d.Key.Space())
	}
	a.blocked = true
	if !a.span.IsRecording() {
		return
	}
	a.span.AddEvent(event, blocker(d))
	by := h.extract(d.By.Annotations)
	if by.IsValid() && !by.Equal(a.blocker) {
		a.blocker = by
		a.span.AddLink(trace.Link{SpanContext: by})
	}
}

// extract returns the span context in an owner's annotations, perhaps none.
// They come from other processes, whose context is not this caller's.
func (h *Hook) extract(notes map[string]string) trace.SpanContext {
	ctx := h.propagator.Extract(context.Background(), propagation.MapCarrier(notes))
	return trace.SpanContextFromContext(ctx)
}

// AcquireEnd ends the acquire's span.
func (h *Hook) AcquireEnd(ctx context.Context, d locker.AcquireEndData) {
	a := h.acquiring(ctx)
	if a == nil {
		return
	}
	o := acquireOutcome(ctx, d.Err)
	space := d.Key.Space()
	if a.counted {
		h.metrics.waited(ctx, space)
	}
	h.metrics.acquired(ctx, space, o, d.Waited)
	if a.span.IsRecording() {
		if d.Err == nil {
			a.span.SetAttributes(token(d.Token))
			if a.blocked {
				a.span.AddEvent("elock.handed_over")
			}
		}
		conclude(a.span, o, d.Err)
	}
	a.span.End()
}
