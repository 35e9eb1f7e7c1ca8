package otelhook

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel/trace"

	"github.com/phpgao/elock/locker"
)

// holding is the context of a hold.
type holding struct {
	context.Context
	hook    *Hook
	span    trace.Span
	counted bool // among the holds

	mu    sync.Mutex // guards what follows: HoldRisk may run beside HoldEnd
	ended bool
	risky bool // counted among the holds at risk
}

type holdingKey struct{ *Hook }

func (d *holding) Value(key any) any {
	if key == (holdingKey{d.hook}) || key == (innermostKey{}) {
		return d
	}
	return d.Context.Value(key)
}

// HoldStart starts the span that follows the acquire's: beside it under the
// caller's span. Without one it is the acquire's child, since only that puts
// both into one trace. A hold that another Hook of the same Locker has started
// just now is the parent: the function's spans are then under both.
func (h *Hook) HoldStart(ctx context.Context, d locker.HoldStartData) context.Context {
	parent := ctx
	_, begun := ctx.Value(innermostKey{}).(*holding)
	if a := h.acquiring(ctx); a != nil && !begun && a.caller.SpanContext().IsValid() {
		parent = trace.ContextWithSpan(ctx, a.caller)
	}
	hold := &holding{hook: h}
	hold.Context, hold.span = h.tracer.Start(parent, "elock.hold", h.internal...)
	hold.counted = h.metrics.holdStarts(hold, d.Key.Space())
	if hold.span.IsRecording() {
		h.common(hold.span)
		hold.span.SetAttributes(
			keyKey.String(d.Key.String()), token(d.Token), mode(d.Shared, d.Slots), seconds(waitKey, d.Waited))
	}
	return hold
}

// HoldRisk counts the hold among those at risk, or does so no more.
func (h *Hook) HoldRisk(ctx context.Context, d locker.HoldRiskData) {
	hold, _ := ctx.Value(holdingKey{h}).(*holding)
	if hold == nil {
		return
	}
	event := "elock.at_risk"
	if !d.AtRisk {
		event = "elock.renewed"
	}
	hold.mu.Lock()
	defer hold.mu.Unlock()
	if hold.ended {
		return
	}
	hold.risk(ctx, d.Key.Space(), d.AtRisk)
	if hold.span.IsRecording() {
		hold.span.AddEvent(event, trace.WithAttributes(seconds(leftKey, d.Remaining)))
	}
}

// risk counts. The caller holds mu.
func (d *holding) risk(ctx context.Context, space string, atRisk bool) {
	switch {
	case atRisk && !d.risky:
		d.risky = d.hook.metrics.risks(ctx, space)
	case !atRisk && d.risky:
		d.hook.metrics.safe(ctx, space)
		d.risky = false
	}
}

// HoldEnd ends the hold's span.
func (h *Hook) HoldEnd(ctx context.Context, d locker.HoldEndData) {
	hold, _ := ctx.Value(holdingKey{h}).(*holding)
	if hold == nil {
		return
	}
	hold.mu.Lock()
	hold.ended = true
	hold.risk(ctx, d.Key.Space(), false)
	hold.mu.Unlock()
	o := holdOutcome(d.Cause)
	h.metrics.holdEnds(ctx, d.Key.Space(), o, d.Held, hold.counted)
	if hold.span.IsRecording() {
		conclude(hold.span, o, d.Cause)
		if d.Requested {
			hold.span.SetAttributes(requestedKey.Bool(true))
		}
	}
	hold.span.End()
}

// TimeoutStart starts a span around the monitor's release.
func (h *Hook) TimeoutStart(ctx context.Context, d locker.TimeoutStartData) context.Context {
	ctx, span := h.tracer.Start(ctx, "elock.timeout", h.internal...)
	if span.IsRecording() {
		h.common(span)
		span.SetAttributes(
			keyKey.String(d.Key.String()), token(d.Token), mode(d.Shared, d.Slots),
			seconds(heldKey, d.Held), seconds(limitKey, d.Limit))
	}
	return ctx
}

// TimeoutEnd ends the span of the monitor's release.
func (h *Hook) TimeoutEnd(ctx context.Context, d locker.TimeoutEndData) {
	o := timeoutOutcome(d.Err)
	h.metrics.timedOut(ctx, d.Key.Space(), o)
	span := trace.SpanFromContext(ctx)
	if span.IsRecording() {
		conclude(span, o, d.Err)
	}
	span.End()
}
