package locker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/keyspace"
)

// A Hold is a lock that is held. Its methods may be called from several
// goroutines.
type Hold struct {
	claim   *claim
	token   Token
	maxHeld time.Duration // 0: without limit
	since   time.Time
	read    *read           // as Reading says
	watched bool            // by the sentry
	peer    *Hold           // another under the same entry; guarded by the registry
	outer   *Hold           // the hold under whose context this one was acquired
	caller  context.Context // of the acquire, with what hooks added
	trail   trail           // what the hooks' HoldStart returned

	mu     sync.Mutex
	group  *group          // those that end with it; nil if there are no others
	ctx    context.Context // made when it is asked for
	cancel context.CancelCauseFunc
	fenced bool  // Fence was called
	cause  error // why it ended; nil while held

	committed bool          // Commit was carried out, whatever becomes of the lock then
	held      time.Duration // how long, when it has ended
	told      bool          // the hooks have heard of it
	settled   bool          // its release is
	done      chan struct{} // closed when it is; made for who waits for that
}

type holdKey struct{}

// HoldFrom returns the innermost hold whose context, or whose function's
// context, ctx is or descends from. The hold may have ended.
func HoldFrom(ctx context.Context) (*Hold, bool) {
	h, ok := ctx.Value(holdKey{}).(*Hold)
	return h, ok
}

func newHold(hs hooks, ctx context.Context, c *claim, maxHeld, waited time.Duration) *Hold {
	h := &Hold{claim: c, token: c.token(), maxHeld: maxHeld, since: time.Now(), read: c.read}
	c.read = nil
	h.outer, _ = HoldFrom(ctx)
	h.trail = hs.holdStart(ctx, HoldStartData{Key: c.key, Token: h.token, Waited: waited, Shared: c.rec.Mode == shared})
	h.caller = h.trail.last(ctx)
	return h
}

// heldBy reports whether ctx descends from a live hold of the lock that l
// means by key.
func (l *Locker) heldBy(ctx context.Context, key keyspace.Key) bool {
	h, _ := HoldFrom(ctx)
	for ; h != nil; h = h.outer {
		for _, m := range h.members() {
			if m.claim.key == key && m.claim.l.root == l.root && m.claim.l.client == l.client && m.Err() == nil {
				return true
			}
		}
	}
	return false
}

// String returns the lock's name and the token.
func (h *Hold) String() string { return fmt.Sprintf("%v token %d", h.Key(), h.token) }

// names are those of all its locks, for an error.
func (h *Hold) names() string {
	var all []string
	for _, m := range h.members() {
		all = append(all, m.Key().String())
	}
	return strings.Join(all, " ")
}

// Key returns the lock's key. Of several locks it is the one that was taken
// first, in an order that is not the caller's.
func (h *Hold) Key() keyspace.Key { return h.claim.key }

// Token returns the fencing token: greater than that of every earlier hold of
// Key's lock, in any process, but for holds that share it at the same time. Each
// lock of an AcquireAll has one of its own, see Tokens.
func (h *Hold) Token() Token { return h.token }

// Context returns a context that is done when the hold ends for any reason.
// context.Cause gives the reason: ErrReleased, ErrMaxHeld, ErrClosed or a
// *LostError. It carries the values of the acquire's context, and neither its
// deadline nor its cancellation.
func (h *Hold) Context() context.Context {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx == nil {
		ctx := context.WithValue(context.WithoutCancel(h.caller), boundKey{}, context.Background())
		h.ctx, h.cancel = context.WithCancelCause(context.WithValue(ctx, holdKey{}, h))
		if h.cause != nil {
			h.cancel(h.cause)
		}
	}
	return h.ctx
}

// Err returns nil while the lock is held, and otherwise the cause of Context,
// or the loss that Release found. It consults the clocks, so it is right even when the process was
// paused and nothing else had time to run.
func (h *Hold) Err() error {
	h.mu.Lock()
	cause := h.cause
	h.mu.Unlock()
	if cause == nil && h.left() <= 0 {
		return &LostError{Reason: Deadline, Token: h.token}
	}
	return cause
}

// left is how long every lease of h surely lives.
func (h *Hold) left() time.Duration {
	left := h.claim.lease.remaining()
	h.mu.Lock()
	g := h.group
	h.mu.Unlock()
	if g != nil {
		for _, m := range g.holds {
			left = min(left, m.claim.lease.remaining())
		}
	}
	return left
}

// Remaining returns how long the lock stays held if etcd is not heard of any
// more. It is 0 when the hold has ended.
func (h *Hold) Remaining() time.Duration {
	if h.Err() != nil {
		return 0
	}
	return max(0, h.left())
}

// Fence returns a comparison for the If of an etcd transaction of your own. It
// holds for as long as the lock's key is in etcd, and so never together with
// that of another hold: a write under it cannot come after the next holder's.
// (If somebody overwrites the key by hand, without its lease, the lock is lost
// and yet the key stays for a moment.) For that, the release of a hold whose
// Fence was called goes to etcd, and is not handed off or kept. The fence of a
// shared hold tells that nobody holds alone, see Shared. Once the hold
// has ended, Fence returns a comparison that never holds. So it does for several
// locks of one AcquireAll, which need Fences.
func (h *Hold) Fence() clientv3.Cmp {
	if len(h.members()) > 1 {
		return created(h.claim.name, -1)
	}
	return h.fence()
}

func (h *Hold) fence() clientv3.Cmp {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cause != nil {
		return created(h.claim.name, -1)
	}
	h.fenced = true
	return created(h.claim.name, h.claim.rev)
}

// ending returns why the hold ended, nil while it is held.
func (h *Hold) ending() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cause
}

// end ends the hold and reports whether this call did: then the caller must
// call ended, and see to the claim.
func (h *Hold) end(cause error) bool {
	done, g := h.endUnless(nil, cause)
	if g != nil {
		return g.end(h, cause)
	}
	return done
}

// endUnless ends h and no other, unless it is one of another group than mine,
// which it returns.
func (h *Hold) endUnless(mine *group, cause error) (done bool, other *group) {
	h.mu.Lock()
	if h.group != mine {
		defer h.mu.Unlock()
		return false, h.group
	}
	first := h.cause == nil
	if first {
		h.cause, h.held = cause, time.Since(h.since)
	}
	cancel := h.cancel
	h.mu.Unlock()
	if first {
		if cancel != nil {
			cancel(cause)
		}
		h.claim.l.holds.remove(h)
	}
	return first, nil
}

// ended tells the hooks, once, before anybody else in this process can hold.
func (h *Hold) ended() {
	h.mu.Lock()
	d := HoldEndData{Key: h.Key(), Token: h.token, Held: h.held, Cause: h.cause}
	told := h.told
	h.told = true
	h.mu.Unlock()
	if !told {
		h.claim.l.hooks.holdEnd(h.trail, d)
	}
}

// Run calls fn and releases the lock when fn returns, panics or calls
// runtime.Goexit; ctx need not be alive for that.
//
// The context of fn has the values and the cancellation of the context that
// the lock was acquired with. It is also done when the hold ends, and its
// cause says why.
//
// Run returns the error of fn, as it is. If the hold ended while fn ran, or
// the release was not confirmed, it returns an *Error that matches that reason
// and, if there was one, the error of fn. If fn has released or committed the
// hold itself, Run has nothing to add.
func (h *Hold) Run(fn func(ctx context.Context, h *Hold) error) (err error) {
	ctx, cancel := either(context.WithValue(context.WithValue(h.caller, boundKey{}, h.caller), holdKey{}, h), h.Context())
	defer func() {
		defer cancel()
		if h.ending() == ErrReleased {
			return // by fn, which was told how that went
		}
		released := h.release(h.caller)
		switch {
		case released == nil:
			return
		case err == nil:
			err = released
		case !errors.Is(err, released): // else fn says the same, as context.Cause does
			err = fmt.Errorf("%w; %w", released, err)
		}
		err = &Error{Op: "run", Key: h.names(), Err: err}
	}()
	if fn == nil {
		return &Error{Op: "run", Key: h.names(), Err: invalid("nil function")}
	}
	if err := h.Err(); err != nil { // by the clocks: the machine may have slept
		return &Error{Op: "run", Key: h.names(), Err: err}
	}
	return fn(ctx, h)
}
