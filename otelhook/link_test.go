package otelhook_test

import (
	"context"
	"errors"
	"testing"

	"go.opentelemetry.io/otel/baggage"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
)

func TestABlockedAcquireLinksToTheAcquireOfTheOwnerAheadInAnotherProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.process("a"), w.process("b")
	ctx, span := a.request("batch")
	held := a.acquire(t, ctx, key)
	blocked := locktest.Async(t, func() *locker.Hold {
		ctx, span := b.request("order")
		defer span.End()
		return b.acquire(t, ctx, key)
	})
	b.untilEvent(t, "elock.queued", 1)
	locktest.Release(t, held)
	locktest.Release(t, blocked())
	span.End()
	want(t, `
		batch in a
			elock.acquire (client) elock.key=space/key elock.mode=exclusive elock.outcome=acquired elock.token=#1 elock.try=false
			elock.hold (internal) elock.key=space/key elock.mode=exclusive elock.outcome=released elock.token=#1 elock.wait=…
		order in b
			elock.acquire (client) elock.key=space/key elock.mode=exclusive elock.outcome=acquired elock.token=#2 elock.try=false
				event elock.queued elock.blocker.local=false elock.blocker.owner=a elock.blocker.token=#1 elock.position=1
				event elock.handed_over
				link to elock.acquire of a, token #1
			elock.hold (internal) elock.key=space/key elock.mode=exclusive elock.outcome=released elock.token=#2 elock.wait=…
		`, w.picture())
}

// Two callers wait in process c behind a waiter in b, which gives up.
func TestEveryBlockerGetsALinkWhetherInThisProcessOrInAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b, c := w.process("a"), w.process("b"), w.process("c")
	held := a.acquire(t, t.Context(), key)
	ctx, cancel := context.WithCancel(t.Context())
	givesUp := locktest.Async(t, func() error { _, err := b.Acquire(ctx, key); return err })
	b.untilEvent(t, "elock.queued", 1)
	first := locktest.Async(t, func() *locker.Hold { return c.acquire(t, t.Context(), key) })
	c.untilEvent(t, "elock.queued", 1)
	second := locktest.Async(t, func() *locker.Hold { return c.acquire(t, t.Context(), key) })
	c.untilEvent(t, "elock.queued", 2)
	cancel()
	if err := givesUp(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	c.untilEvent(t, "elock.blocker_changed", 1)
	locktest.Release(t, held)
	locktest.Release(t, first())
	locktest.Release(t, second())
	want(t, `
		elock.acquire in a (client) elock.key=space/key elock.mode=exclusive elock.outcome=acquired elock.token=#1 elock.try=false
			elock.hold (internal) elock.key=space/key elock.mode=exclusive elock.outcome=released elock.token=#1 elock.wait=…
		elock.acquire in b (client) elock.key=space/key elock.mode=exclusive elock.outcome=canceled elock.try=false
			event elock.queued elock.blocker.local=false elock.blocker.owner=a elock.blocker.token=#1 elock.position=1
			link to elock.acquire of a, token #1
		elock.acquire in c (client) elock.key=space/key elock.mode=exclusive elock.outcome=acquired elock.token=#2 elock.try=false
			event elock.queued elock.blocker.local=false elock.blocker.owner=b elock.blocker.token=#? elock.position=2
			event elock.blocker_changed elock.blocker.local=false elock.blocker.owner=a elock.blocker.token=#1 elock.position=1
			event elock.handed_over
			link to elock.acquire of b
			link to elock.acquire of a, token #1
			elock.hold (internal) elock.key=space/key elock.mode=exclusive elock.outcome=released elock.token=#2 elock.wait=…
		elock.acquire in c (client) elock.key=space/key elock.mode=exclusive elock.outcome=acquired elock.token=#3 elock.try=false
			event elock.queued elock.blocker.local=true elock.blocker.owner=c elock.position=1
			event elock.handed_over
			link to elock.acquire of c, token #2
			elock.hold (internal) elock.key=space/key elock.mode=exclusive elock.outcome=released elock.token=#3 elock.wait=…
		`, w.picture())
}

func TestATryLinksToTheHolderWithoutWaiting(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.process("a"), w.process("b")
	held := a.acquire(t, t.Context(), key)
	for _, p := range []*process{a, b} {
		if _, err := p.TryAcquire(t.Context(), key); !errors.Is(err, locker.ErrLocked) {
			t.Error(err)
		}
	}
	locktest.Release(t, held)
	want(t, `
		elock.acquire in a (client) elock.key=space/key elock.mode=exclusive elock.outcome=acquired elock.token=#1 elock.try=false
			elock.hold (internal) elock.key=space/key elock.mode=exclusive elock.outcome=released elock.token=#1 elock.wait=…
		elock.acquire in a (client) elock.key=space/key elock.mode=exclusive elock.outcome=locked elock.try=true
			event elock.locked elock.blocker.local=true elock.blocker.owner=a elock.position=1
			link to elock.acquire of a, token #1
		elock.acquire in b (client) elock.key=space/key elock.mode=exclusive elock.outcome=locked elock.try=true
			event elock.locked elock.blocker.local=false elock.blocker.owner=a elock.blocker.token=#1 elock.position=1
			link to elock.acquire of a, token #1
		`, w.picture())
}

func TestTheRecordCarriesTheAcquireSpanAndNotTheCallersBaggage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.process("p")
	secret, err := baggage.Parse("user=secret")
	if err != nil {
		t.Fatal(err)
	}
	h := p.acquire(t, baggage.ContextWithBaggage(t.Context(), secret), key)
	q, err := p.Inspect(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	locktest.Release(t, h)
	notes := q.Holders[0].Annotations
	acquire := p.spans.Ended()[0].SpanContext()
	if got, want := notes["traceparent"], "00-"+acquire.TraceID().String()+"-"+acquire.SpanID().String()+"-01"; got != want {
		t.Errorf("traceparent %q, want %q", got, want)
	}
	if len(notes) != 1 {
		t.Errorf("got %q", notes)
	}
}
