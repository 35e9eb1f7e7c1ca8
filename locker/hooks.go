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
	callback.Chain[Hook, hookCall]
}

// A hookCall names a call of a hook's method, for the log.
type hookCall struct {
	method string
	key    keyspace.Key
}

// newHooks returns hooks whose panics are recovered and logged. A hook that calls
// runtime.Goexit is logged, too.
func newHooks(all []Hook, log *slog.Logger, owner string) hooks {
	return hooks{callback.Chain[Hook, hookCall]{All: all, Failed: func(c hookCall, panicked any, stack string) {
		msg, args := "elock: hook ended its goroutine", []any{"hook", c.method, "key", c.key.String(), "owner", owner, "stack", stack}
		if panicked != nil {
			msg, args = "elock: hook panicked", append(args, "panic", panicked)
		}
		log.Error(msg, args...)
	}}}
}

func (hs *hooks) acquireStart(t *callback.Contexts, ctx context.Context, d AcquireStartData) (notes map[string]string) {
	hs.Start(t, ctx, hookCall{"AcquireStart", d.Key}, func(h Hook, ctx context.Context) context.Context {
		ctx, add := h.AcquireStart(ctx, d)
		if notes == nil && len(add) > 0 {
			notes = make(map[string]string, len(add))
		}
		maps.Copy(notes, add)
		return ctx
	})
	return notes
}

func (hs *hooks) acquireEnd(t callback.Contexts, d AcquireEndData) {
	hs.End(t, hookCall{"AcquireEnd", d.Key}, func(h Hook, ctx context.Context) { h.AcquireEnd(ctx, d) })
}

func (hs *hooks) blocked(t callback.Contexts, d BlockedData) {
	hs.Amid(t, hookCall{"Blocked", d.Key}, func(h Hook, ctx context.Context) { h.Blocked(ctx, d) })
}

func (hs *hooks) holdStart(t *callback.Contexts, ctx context.Context, d HoldStartData) {
	hs.Start(t, ctx, hookCall{"HoldStart", d.Key}, func(h Hook, ctx context.Context) context.Context { return h.HoldStart(ctx, d) })
}

// holdRisk calls each hook on a goroutine of its own, which a hook may end.
func (hs *hooks) holdRisk(t callback.Contexts, d HoldRiskData) {
	for i, h := range hs.All {
		callback.Apart(func() { hs.Call(hookCall{"HoldRisk", d.Key}, func() { h.HoldRisk(t[i], d) }) })
	}
}

func (hs *hooks) holdEnd(t callback.Contexts, d HoldEndData) {
	hs.End(t, hookCall{"HoldEnd", d.Key}, func(h Hook, ctx context.Context) { h.HoldEnd(ctx, d) })
}

func (hs *hooks) timeoutStart(t *callback.Contexts, ctx context.Context, d TimeoutStartData) {
	hs.Start(t, ctx, hookCall{"TimeoutStart", d.Key}, func(h Hook, ctx context.Context) context.Context { return h.TimeoutStart(ctx, d) })
}

func (hs *hooks) timeoutEnd(t callback.Contexts, d TimeoutEndData) {
	hs.End(t, hookCall{"TimeoutEnd", d.Key}, func(h Hook, ctx context.Context) { h.TimeoutEnd(ctx, d) })
}

// finish calls f for holds that ended together. f runs their hooks: then finish
// does not wait for it, and a slow one delays its own hold only.
func (l *Locker) finish(holds []*Hold, f func(*Hold)) {
	switch {
	case len(holds) == 0:
	case len(l.hooks.All) == 0:
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
