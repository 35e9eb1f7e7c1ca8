package locker

import (
	"context"
	"maps"
	"time"

	"github.com/phpgao/elock/keyspace"
)

// A Hook watches locks; it never decides. Each Start returns the context that
// the matching End receives. Every Start is followed by exactly one End.
//
// The methods run outside all mutexes, on whichever goroutine the event
// happens, and several at a time. They delay the operation that they watch,
// and must neither panic nor call the Locker. Embed NopHook to stay
// compatible with methods that are added later.
type Hook interface {
	// AcquireStart runs before anything is sent. The context it returns is
	// used for the calls to etcd that are this acquire's alone. The map, which may be nil, is written
	// into the lock's key, where others see it as Owner.Annotations; it
	// should be small.
	AcquireStart(ctx context.Context, d AcquireStartData) (context.Context, map[string]string)
	// AcquireEnd runs when the lock is granted or the attempt has failed.
	AcquireEnd(ctx context.Context, d AcquireEndData)
	// Blocked runs when the caller has to wait, and again when the owner
	// ahead of it changes. It receives AcquireStart's context.
	Blocked(ctx context.Context, d BlockedData)
	// HoldStart runs right after the AcquireEnd of a grant, with the context
	// that AcquireStart returned. The values of the context it returns are
	// those of the hold's context.
	HoldStart(ctx context.Context, d HoldStartData) context.Context
	// HoldEnd runs once, when the hold has ended for any reason; after a
	// Release, when etcd has answered or was silent for too long.
	HoldEnd(ctx context.Context, d HoldEndData)
	// TimeoutStart runs when the monitor has ended a hold, before it
	// releases the lock. It receives HoldStart's context.
	TimeoutStart(ctx context.Context, d TimeoutStartData) context.Context
	// TimeoutEnd runs after the monitor's release.
	TimeoutEnd(ctx context.Context, d TimeoutEndData)
}

// AcquireStartData describes an acquire that begins.
type AcquireStartData struct {
	Key keyspace.Key
	Try bool // it fails where another would wait; AcquireAll begins with one for each key
	TTL time.Duration

	Shared bool
}

// AcquireEndData describes an acquire that ended.
type AcquireEndData struct {
	Key    keyspace.Key
	Token  Token // 0 if it failed
	Waited time.Duration
	Err    error // nil if the lock was granted
}

// BlockedData describes what an acquire waits for.
type BlockedData struct {
	Key   keyspace.Key
	By    Owner // the owner directly ahead in the queue; of a try, the first in it
	Local bool  // By is in this process, and the place in etcd's queue is not taken yet
	Ahead int   // how many are ahead: in this process if Local, else entries in etcd; 0 if not known
}

// HoldStartData describes a hold that begins.
type HoldStartData struct {
	Key    keyspace.Key
	Token  Token
	Waited time.Duration // from the call to the grant
	Shared bool
}

// HoldEndData describes a hold that ended.
type HoldEndData struct {
	Key   keyspace.Key
	Token Token
	Held  time.Duration
	Cause error // ErrReleased, ErrMaxHeld, ErrClosed or a *LostError
}

// TimeoutStartData describes a hold that lasted too long.
type TimeoutStartData struct {
	Key   keyspace.Key
	Token Token
	Held  time.Duration
	Limit time.Duration

	Shared bool
}

// TimeoutEndData describes the end of the monitor's release.
type TimeoutEndData struct {
	Key   keyspace.Key
	Token Token
	Err   error // nil if the lock was released
}

// NopHook is a Hook that does nothing.
type NopHook struct{}

var _ Hook = NopHook{}

// AcquireStart returns ctx.
func (NopHook) AcquireStart(ctx context.Context, _ AcquireStartData) (context.Context, map[string]string) {
	return ctx, nil
}

// AcquireEnd does nothing.
func (NopHook) AcquireEnd(context.Context, AcquireEndData) {}

// Blocked does nothing.
func (NopHook) Blocked(context.Context, BlockedData) {}

// HoldStart returns ctx.
func (NopHook) HoldStart(ctx context.Context, _ HoldStartData) context.Context { return ctx }

// HoldEnd does nothing.
func (NopHook) HoldEnd(context.Context, HoldEndData) {}

// TimeoutStart returns ctx.
func (NopHook) TimeoutStart(ctx context.Context, _ TimeoutStartData) context.Context { return ctx }

// TimeoutEnd does nothing.
func (NopHook) TimeoutEnd(context.Context, TimeoutEndData) {}

// hooks is several hooks as one. Each Start gets the context that the one
// before it returned; Ends run in reverse, each with its own Start's context.
type hooks []Hook

// A trail is the contexts that the hooks' Starts returned, in their order.
type trail []context.Context

// last is the context that carries what all hooks added to ctx.
func (t trail) last(ctx context.Context) context.Context {
	if len(t) == 0 {
		return ctx
	}
	return t[len(t)-1]
}

func (hs hooks) start(ctx context.Context, start func(Hook, context.Context) context.Context) trail {
	if len(hs) == 0 {
		return nil
	}
	t := make(trail, len(hs))
	for i, h := range hs {
		ctx = start(h, ctx)
		t[i] = ctx
	}
	return t
}

func (hs hooks) end(t trail, end func(Hook, context.Context)) {
	for i := len(hs) - 1; i >= 0; i-- {
		end(hs[i], t[i])
	}
}

func (hs hooks) acquireStart(ctx context.Context, d AcquireStartData) (t trail, notes map[string]string) {
	t = hs.start(ctx, func(h Hook, ctx context.Context) context.Context {
		ctx, add := h.AcquireStart(ctx, d)
		if notes == nil && len(add) > 0 {
			notes = make(map[string]string, len(add))
		}
		maps.Copy(notes, add)
		return ctx
	})
	return t, notes
}

func (hs hooks) acquireEnd(t trail, d AcquireEndData) {
	hs.end(t, func(h Hook, ctx context.Context) { h.AcquireEnd(ctx, d) })
}

func (hs hooks) blocked(t trail, d BlockedData) {
	for i, h := range hs {
		h.Blocked(t[i], d)
	}
}

func (hs hooks) holdStart(ctx context.Context, d HoldStartData) trail {
	return hs.start(ctx, func(h Hook, ctx context.Context) context.Context { return h.HoldStart(ctx, d) })
}

func (hs hooks) holdEnd(t trail, d HoldEndData) {
	hs.end(t, func(h Hook, ctx context.Context) { h.HoldEnd(ctx, d) })
}

func (hs hooks) timeoutStart(ctx context.Context, d TimeoutStartData) trail {
	return hs.start(ctx, func(h Hook, ctx context.Context) context.Context { return h.TimeoutStart(ctx, d) })
}

func (hs hooks) timeoutEnd(t trail, d TimeoutEndData) {
	hs.end(t, func(h Hook, ctx context.Context) { h.TimeoutEnd(ctx, d) })
}
