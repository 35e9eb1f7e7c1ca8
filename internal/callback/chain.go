package callback

import "context"

// A Chain is several hooks as one. H is what a hook is, and C what names a call of one of its methods, for Failed.
type Chain[H, C any] struct {
	All    []H
	Failed func(c C, panicked any, stack string) // as Call has it
}

// Contexts are what the hooks' Starts returned, in their order. They are of those that have begun: each of them gets an End.
type Contexts []context.Context

// Last is the context that carries what all hooks added to ctx.
func (t Contexts) Last(ctx context.Context) context.Context {
	if len(t) == 0 {
		return ctx
	}
	return t[len(t)-1]
}

// Call runs f, which calls a hook, as the function Call does.
func (ch *Chain[H, C]) Call(c C, f func()) {
	Call(f, func(panicked any, stack string) { ch.Failed(c, panicked, stack) })
}

// Start calls start for each hook, with the context that the one before it returned. It fills t as it goes, so that the Ends can run when a
// Start does not return.
func (ch *Chain[H, C]) Start(t *Contexts, ctx context.Context, c C, start func(H, context.Context) context.Context) {
	if len(ch.All) == 0 {
		return
	}
	*t = make(Contexts, 0, len(ch.All))
	for i, h := range ch.All {
		*t = append(*t, ctx)
		ch.Call(c, func() {
			if with := start(h, ctx); with != nil {
				ctx, (*t)[i] = with, with
			}
		})
	}
}

// Amid calls f for each hook that has begun, in their order, each with its own context.
func (ch *Chain[H, C]) Amid(t Contexts, c C, f func(H, context.Context)) {
	for i := range t {
		ch.Call(c, func() { f(ch.All[i], t[i]) })
	}
}

// End calls end for each hook that has begun, in reverse, each with its own context.
func (ch *Chain[H, C]) End(t Contexts, c C, end func(H, context.Context)) {
	if len(t) == 0 {
		return
	}
	last := len(t) - 1
	defer ch.End(t[:last], c, end) // even if this hook calls runtime.Goexit
	ch.Call(c, func() { end(ch.All[last], t[last]) })
}

// Apart is the function Apart where there are hooks.
func (ch *Chain[H, C]) Apart(f func()) {
	if len(ch.All) > 0 {
		Apart(f)
	}
}
