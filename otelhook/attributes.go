package otelhook

import (
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/phpgao/elock/locker"
)

const (
	keyKey     = attribute.Key("elock.key")
	tokenKey   = attribute.Key("elock.token")
	modeKey    = attribute.Key("elock.mode")
	tryKey     = attribute.Key("elock.try")
	outcomeKey = attribute.Key("elock.outcome")
	waitKey    = attribute.Key("elock.wait")
	heldKey    = attribute.Key("elock.held")
	limitKey   = attribute.Key("elock.limit")
	leftKey    = attribute.Key("elock.left")
	spaceKey   = attribute.Key("elock.space")
	errorKey   = attribute.Key("error.type")

	requestedKey = attribute.Key("elock.requested")

	blockerOwnerKey = attribute.Key("elock.blocker.owner")
	blockerTokenKey = attribute.Key("elock.blocker.token")
	blockerLocalKey = attribute.Key("elock.blocker.local")
	positionKey     = attribute.Key("elock.position")
)

// mode is how a lock is held.
func mode(shared bool, slots int) attribute.KeyValue {
	switch {
	case shared:
		return modeKey.String("shared")
	case slots > 0:
		return modeKey.String("slots")
	}
	return modeKey.String("exclusive")
}

func token(t locker.Token) attribute.KeyValue { return tokenKey.Int64(int64(t)) }

func seconds(k attribute.Key, d time.Duration) attribute.KeyValue { return k.Float64(d.Seconds()) }

// common sets the user's attributes.
func (h *Hook) common(span trace.Span) {
	if len(h.attrs) > 0 {
		span.SetAttributes(h.attrs...)
	}
}

// blocker describes who is ahead.
func blocker(d locker.BlockedData) trace.EventOption {
	attrs := []attribute.KeyValue{blockerLocalKey.Bool(d.Local)}
	if d.By.Name != "" {
		attrs = append(attrs, blockerOwnerKey.String(d.By.Name))
	}
	if d.By.Token != 0 {
		attrs = append(attrs, blockerTokenKey.Int64(int64(d.By.Token)))
	}
	if d.Ahead != 0 {
		attrs = append(attrs, positionKey.Int(d.Ahead))
	}
	return trace.WithAttributes(attrs...)
}

// conclude sets how a span's operation ended.
func conclude(span trace.Span, o outcome, err error) {
	if o.errorType == "" {
		span.SetAttributes(outcomeKey.String(o.name))
		return
	}
	span.SetAttributes(outcomeKey.String(o.name), errorKey.String(o.errorType))
	span.SetStatus(codes.Error, err.Error())
}
