package simulation_test

import (
	"context"
	"time"

	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// A witness is the hook of one Locker.
type witness struct {
	w     *world
	name  string
	holds map[keyspace.Key]int // as far as told
	slots map[keyspace.Key]int // those of them that are of slots
}

type spanKey struct{ kind string }

// A span is what a hook has begun.
type span struct {
	began         time.Time
	ended, atRisk bool
}

func (h *witness) start(ctx context.Context, kind string, key keyspace.Key) context.Context {
	h.w.open[kind]++
	return context.WithValue(ctx, spanKey{kind}, &span{began: time.Now()})
}

func (h *witness) end(ctx context.Context, kind string, key keyspace.Key) {
	s, ok := ctx.Value(spanKey{kind}).(*span)
	switch {
	case !ok:
		h.w.Fail("%s: %s of %v ended without its start", h.name, kind, key)
	case s.ended:
		h.w.Fail("%s: %s of %v ended twice", h.name, kind, key)
	default:
		s.ended = true
		h.w.open[kind]--
	}
}

func (h *witness) AcquireStart(ctx context.Context, d locker.AcquireStartData) (context.Context, map[string]string) {
	h.w.Mu.Lock()
	defer h.w.Mu.Unlock()
	return h.start(ctx, "acquire", d.Key), nil
}

func (h *witness) AcquireEnd(ctx context.Context, d locker.AcquireEndData) {
	h.w.Mu.Lock()
	defer h.w.Mu.Unlock()
	h.end(ctx, "acquire", d.Key)
	if d.Err != nil {
		h.w.Log("%s: no %v: %v", h.name, d.Key, d.Err)
	}
}

func (h *witness) Blocked(_ context.Context, d locker.BlockedData) {
	h.w.Mu.Lock()
	defer h.w.Mu.Unlock()
	h.w.stats.waits++
	h.w.Log("%s: waits for %v behind %s %v, local %v", h.name, d.Key, d.By.Name, entryOf(d.Key, d.By.Token), d.Local)
}

func (h *witness) HoldStart(ctx context.Context, d locker.HoldStartData) context.Context {
	w := h.w
	w.Mu.Lock()
	defer w.Mu.Unlock()
	e := entryOf(d.Key, d.Token)
	p := w.place(e)
	p.since = time.Now()
	w.stats.grants++
	w.Log("%s: holds %v, after %v", h.name, e, d.Waited)
	last, others := w.tokens[d.Key.String()], h.holds[d.Key]
	if c := (claim{d.Shared, d.Slots, d.Weight}); c != p.claim {
		w.Fail("%s: granted %v, %+v, to who wants %+v", h.name, e, p.claim, c)
	}
	switch {
	case d.Shared:
		others -= p.held
	case d.Slots > 0:
		others -= h.slots[d.Key]
		h.slots[d.Key]++
	}
	switch {
	case p.forced && (w.Profile != simtest.Calm || time.Since(p.gone) < 120*time.Millisecond):
		// The answer was on its way, or the lock was handed on. It will be told.
	case !p.gone.IsZero() && w.prod[slowHooks] && time.Since(p.gone) < lateness:
		// AcquireEnd was slow, and the Locker closed or its lease ended meanwhile. Nobody may believe in it.
	case !p.gone.IsZero():
		w.Fail("%s: granted %v, which etcd has deleted", h.name, e)
	case !w.first(e):
		w.Fail("%s: granted %v, which is not the first in %v", h.name, e, w.queues[e.dir])
	case p.tokens[d.Token]:
		w.Fail("%s: token %d of %v again", h.name, d.Token, d.Key)
	case d.Shared:
	case p.held > 0 || p.believed():
		w.Fail("%s: granted %v, which is held", h.name, e)
	case p.fenced:
		w.Fail("%s: granted %v under the fence of an earlier hold", h.name, e)
	case d.Slots == 0 && d.Token <= last:
		w.Fail("%s: token %d of %v after %d", h.name, d.Token, d.Key, last)
	}
	if p.gone.IsZero() {
		w.grow(h.name, d.Key, p.kind(), d.Token)
	}
	if others != 0 {
		w.Fail("%s: granted %v before the end of its last hold was told", h.name, e)
	}
	p.tokens[d.Token] = true
	w.tokens[d.Key.String()] = max(last, d.Token)
	p.held++
	h.holds[d.Key]++
	return h.start(ctx, "hold", d.Key)
}

func (h *witness) HoldRisk(ctx context.Context, d locker.HoldRiskData) {
	w := h.w
	w.Mu.Lock()
	defer w.Mu.Unlock()
	e := entryOf(d.Key, d.Token)
	w.Log("%s: %v at risk %v, %v left", h.name, e, d.AtRisk, d.Remaining)
	s, ok := ctx.Value(spanKey{"hold"}).(*span)
	switch {
	case !ok:
		w.Fail("%s: HoldRisk of %v without its HoldStart", h.name, e)
	case s.atRisk == d.AtRisk:
		w.Fail("%s: told twice that %v is at risk: %v", h.name, e, d.AtRisk)
	case d.AtRisk && w.Profile == simtest.Calm:
		w.Fail("%s: %v is at risk without a fault", h.name, e)
	default:
		s.atRisk = d.AtRisk
	}
	w.stats.risks++
}

// grow checks that a token is greater than those of all other kinds of holds. The caller holds mu.
func (w *world) grow(who string, k keyspace.Key, kind string, token locker.Token) {
	kinds := w.kinds[k.String()]
	if kinds == nil {
		kinds = make(map[string]locker.Token)
		w.kinds[k.String()] = kinds
	}
	for other, last := range kinds {
		if other != kind && token <= last {
			w.Fail("%s: token %d of %v after %d of another kind", who, token, k, last)
		}
	}
	kinds[kind] = max(kinds[kind], token)
}

func (h *witness) HoldEnd(ctx context.Context, d locker.HoldEndData) {
	w := h.w
	w.Mu.Lock()
	defer w.Mu.Unlock()
	h.end(ctx, "hold", d.Key)
	e := entryOf(d.Key, d.Token)
	w.Log("%s: held %v for %v: %v", h.name, e, d.Held, d.Cause)
	p := w.place(e)
	p.held--
	h.holds[d.Key]--
	if p.slots > 0 {
		h.slots[d.Key]--
	}
	if p.held == 0 && w.first(e) {
		w.expectProgress(e)
	}
	if loss, ok := d.Cause.(*locker.LostError); ok {
		w.stats.losses++
		s, _ := ctx.Value(spanKey{"hold"}).(*span)
		released := w.prod[slowHooks] || s == nil || time.Since(s.began) > d.Held // and then found to be lost
		if loss.Reason == locker.ReasonDeadline && !released && !d.AtRisk && d.Held > 0 {
			w.Fail("%s: held %v for %v, which is lost without having been at risk", h.name, e, d.Held)
		}
		w.lost(h.name, d.Key, loss)
	}
}

func (h *witness) TimeoutStart(ctx context.Context, d locker.TimeoutStartData) context.Context {
	h.w.Mu.Lock()
	defer h.w.Mu.Unlock()
	h.w.stats.timeouts++
	return h.start(ctx, "timeout", d.Key)
}

func (h *witness) TimeoutEnd(ctx context.Context, d locker.TimeoutEndData) {
	h.w.Mu.Lock()
	defer h.w.Mu.Unlock()
	h.end(ctx, "timeout", d.Key)
}
