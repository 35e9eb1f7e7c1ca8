package locker

import (
	"context"
	"log/slog"
	"maps"

	"github.com/phpgao/elock/internal/callback"
	"github.com/phpgao/elock/keyspace"
)

// hooks is several hooks as one. Each Start gets the context that the one
// before it returned; Ends run in reverse, each with its own Start's context.
type hooks struct {
	all   []Hook
	log   *slog.Logger
	owner string
}

// hookContexts are what the hooks' Starts returned, in their order. They are of
// those that have begun: each of them gets an End.
type hookContexts []context.Context

// last is the context that carries what all hooks added to ctx.
func (t hookContexts) last(ctx context.Context) context.Context {
	if len(t) == 0 {
		return ctx
	}
	return t[len(t)-1]
}

// A hookCall names a call of a hook's method, for the log.
type hookCall struct {
	method string
	key    keyspace.Key
}

// call runs f, which calls a hook. It recovers and logs a panic. If the hook calls
// runtime.Goexit, call logs that and does not return.
func (hs *hooks) call(c hookCall, f func()) {
	callback.Call(f, func(panicked any, stack string) {
		msg, args := "elock: hook ended its goroutine", []any{"hook", c.method, "key", c.key.String(), "owner", hs.owner, "stack", stack}
		if panicked != nil {
			msg, args = "elock: hook panicked", append(args, "panic", panicked)
		}
		hs.log.Error(msg, args...)
	})
}

// start fills t as it goes, so that the Ends can run when a Start does not return.
func (hs *hooks) start(t *hookContexts, ctx context.Context, c hookCall, start func(Hook, context.Context) context.Context) {
	if len(hs.all) == 0 {
		return
	}
	*t = make(hookContexts, 0, len(hs.all))
	for i, h := range hs.all {
		*t = append(*t, ctx)
		hs.call(c, func() {
			if with := start(h, ctx); with != nil {
				ctx, (*t)[i] = with, with
			}
		})
	}
}

func (hs *hooks) end(t hookContexts, c hookCall, end func(Hook, context.Context)) {
	if len(t) == 0 {
		return
	}
	last := len(t) - 1
	defer hs.end(t[:last], c, end) // even if this hook calls runtime.Goexit
	hs.call(c, func() { end(hs.all[last], t[last]) })
}

func (hs *hooks) acquireStart(t *hookContexts, ctx context.Context, d AcquireStartData) (notes map[string]string) {
	hs.start(t, ctx, hookCall{"AcquireStart", d.Key}, func(h Hook, ctx context.Context) context.Context {
		ctx, add := h.AcquireStart(ctx, d)
		if notes == nil && len(add) > 0 {
			notes = make(map[string]string, len(add))
		}
		maps.Copy(notes, add)
		return ctx
	})
	return notes
}

func (hs *hooks) acquireEnd(t hookContexts, d AcquireEndData) {
	hs.end(t, hookCall{"AcquireEnd", d.Key}, func(h Hook, ctx context.Context) { h.AcquireEnd(ctx, d) })
}

func (hs *hooks) blocked(t hookContexts, d BlockedData) {
	for i, h := range hs.all {
		hs.call(hookCall{"Blocked", d.Key}, func() { h.Blocked(t[i], d) })
	}
}

func (hs *hooks) holdStart(t *hookContexts, ctx context.Context, d HoldStartData) {
	hs.start(t, ctx, hookCall{"HoldStart", d.Key}, func(h Hook, ctx context.Context) context.Context { return h.HoldStart(ctx, d) })
}

func (hs *hooks) holdEnd(t hookContexts, d HoldEndData) {
	hs.end(t, hookCall{"HoldEnd", d.Key}, func(h Hook, ctx context.Context) { h.HoldEnd(ctx, d) })
}

func (hs *hooks) timeoutStart(t *hookContexts, ctx context.Context, d TimeoutStartData) {
	hs.start(t, ctx, hookCall{"TimeoutStart", d.Key}, func(h Hook, ctx context.Context) context.Context { return h.TimeoutStart(ctx, d) })
}

func (hs *hooks) timeoutEnd(t hookContexts, d TimeoutEndData) {
	hs.end(t, hookCall{"TimeoutEnd", d.Key}, func(h Hook, ctx context.Context) { h.TimeoutEnd(ctx, d) })
}

// apart is callback.Apart where there are hooks.
func (hs *hooks) apart(f func()) {
	if len(hs.all) > 0 {
		callback.Apart(f)
	}
}

// finish calls f for holds that ended together. f runs their hooks: then finish
// does not wait for it, and a slow one delays its own hold only.
func (l *Locker) finish(holds []*Hold, f func(*Hold)) {
	switch {
	case len(holds) == 0:
	case len(l.hooks.all) == 0:
		for _, h := range holds {
			f(h)
		}
	case len(holds) == 1:
		l.background(func() { f(holds[0]) })
	default:
		l.background(func() { callback.Each(holds, f) })
	}
}

// background runs f, which runs hooks, on a goroutine that Close waits for when it
// has done everything else.
func (l *Locker) background(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waited {
		go f()
		return
	}
	l.hooked.Go(f)
}
