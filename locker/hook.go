package locker

import (
	"context"
	"time"

	"github.com/phpgao/elock/keyspace"
)

// A Hook watches locks; it never decides. Each Start returns the context that
// the matching End receives. Every Start is followed by exactly one End.
//
// The methods run outside all mutexes, on whichever goroutine the event
// happens, and several at a time. They delay the operation that they watch and
// no other, and must not call the Locker. Embed NopHook to stay compatible with
// methods that are added later.
//
// A panic of a hook is logged, and the operation goes on. If a Start panics, its
// End receives the context that the Start was given. If a hook calls
// runtime.Goexit on the caller's goroutine, that ends the goroutine, as anywhere
// else: an acquire is given up then, and a release is completed in the background.
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
	// HoldRisk runs when the hold gets at risk, as Hold.AtRisk says, and again
	// when it is at risk no more, with HoldStart's context. Its calls for one
	// hold alternate and do not overlap. The last one may overlap HoldEnd.
	HoldRisk(ctx context.Context, d HoldRiskData)
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

	Shared        bool
	Slots, Weight int // as these options say; 0 without them
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

	Shared        bool
	Slots, Weight int
}

// HoldRiskData describes a hold that gets at risk, or is so no more.
type HoldRiskData struct {
	Key       keyspace.Key
	Token     Token
	AtRisk    bool          // a renewal is overdue; otherwise one was answered
	Remaining time.Duration // how long the lock stays held if nothing more is answered
}

// HoldEndData describes a hold that ended.
type HoldEndData struct {
	Key   keyspace.Key
	Token Token
	Held  time.Duration
	Cause error // ErrReleased, ErrMaxHeld, ErrClosed or a *LostError

	AtRisk    bool // HoldRisk said so last
	Requested bool // somebody had asked for the lock, see Hold.Requested
}

// TimeoutStartData describes a hold that lasted too long.
type TimeoutStartData struct {
	Key   keyspace.Key
	Token Token
	Held  time.Duration
	Limit time.Duration

	Shared        bool
	Slots, Weight int
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

// HoldRisk does nothing.
func (NopHook) HoldRisk(context.Context, HoldRiskData) {}

// HoldEnd does nothing.
func (NopHook) HoldEnd(context.Context, HoldEndData) {}

// TimeoutStart returns ctx.
func (NopHook) TimeoutStart(ctx context.Context, _ TimeoutStartData) context.Context { return ctx }

// TimeoutEnd does nothing.
func (NopHook) TimeoutEnd(context.Context, TimeoutEndData) {}
