package xctx

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// A Grace is a context with the values of Caller, which it outlives by Grace, unless Limit ends. It is made when it is first
// asked for: a call that is answered meanwhile costs no timer and no goroutine.
//
// Stop must be called at the end.
type Grace struct {
	Caller, Limit context.Context
	Limits        *Limiter      // where the limits of further tries come from
	Total         time.Duration // of all tries; 0: without limit
	Grace         time.Duration
	Silent        *atomic.Int64 // notes, by clock.Mono, when a try was not answered; may be nil
	Outliver      Outliver      // says what it outlives; nil: Caller
	Patient       bool          // nobody waits for what is done under it: that may wait a moment for others

	once   sync.Once
	ctx    context.Context
	end    context.CancelFunc
	forget func() bool // the caller
}

// An Outliver says which context is to be outlived where that of the caller ends by the very call that is made: a release ends
// the context of the function that makes it.
type Outliver interface {
	Outlives(caller context.Context) context.Context
}

// Outlives returns what g outlives.
func (g *Grace) Outlives() context.Context {
	if g.Outliver == nil {
		return g.Caller
	}
	return g.Outliver.Outlives(g.Caller)
}

func (g *Grace) made() context.Context {
	g.once.Do(func() {
		g.ctx, g.end = context.WithCancel(valued{g.Limit, g.Caller})
		g.forget = context.AfterFunc(g.Caller, g.callerEnded)
	})
	return g.ctx
}

func (g *Grace) callerEnded() {
	soon := func() { time.AfterFunc(g.Grace, g.end) }
	outlives := g.Outlives()
	if outlives == g.Caller {
		soon()
		return
	}
	forget := context.AfterFunc(outlives, soon)
	context.AfterFunc(g.ctx, func() { forget() })
	if deadline, ok := g.Caller.Deadline(); ok {
		t := time.AfterFunc(time.Until(deadline)+g.Grace, g.end)
		context.AfterFunc(g.ctx, func() { t.Stop() })
	}
}

// Stop ends g.
func (g *Grace) Stop() {
	g.once.Do(func() { g.ctx, g.end, g.forget = over, func() {}, func() bool { return true } })
	g.forget()
	g.end()
}

func (g *Grace) Deadline() (time.Time, bool) { return g.made().Deadline() }
func (g *Grace) Done() <-chan struct{}       { return g.made().Done() }
func (g *Grace) Err() error                  { return g.made().Err() }
func (g *Grace) Value(key any) any           { return g.made().Value(key) }

// over is a context that has ended.
var over = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// WithValues returns ctx with the values of another context, which those of ctx hide.
func WithValues(ctx, values context.Context) context.Context { return valued{ctx, values} }

// A valued is a context with the values of another.
type valued struct {
	context.Context
	values context.Context
}

func (v valued) Value(key any) any {
	if own := v.Context.Value(key); own != nil { // of package context
		return own
	}
	return v.values.Value(key)
}

// DoneChans returns channels of which one is closed before ctx ends. A Grace is not made by that.
func DoneChans(ctx context.Context) (ended, other <-chan struct{}) {
	if g, ok := ctx.(*Grace); ok {
		return g.Caller.Done(), g.Limit.Done()
	}
	return ctx.Done(), nil
}
