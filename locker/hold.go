package locker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/callback"
	"github.com/phpgao/elock/internal/entry"
	"github.com/phpgao/elock/internal/linger"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/internal/xctx"
	"github.com/phpgao/elock/keyspace"
)

// A Hold is a lock that is held. Its methods may be called from several
// goroutines.
type Hold struct {
	l       *Locker
	entry   *entry.Entry
	token   Token
	maxHeld time.Duration // 0: without limit
	since   time.Time
	read    *record.Read    // as ReadKeys says
	outer   *Hold           // the hold under whose context this one was acquired
	caller  context.Context // of the acquire, with what hooks added
	hooked  *hooked         // nil if there are no hooks
	stay    *linger.Stay    // of the goroutine that has ended the hold; nil if the entry need not stay
	turn    chan struct{}   // full while a call of Announce runs; nil if the hold announces nothing

	mu      sync.Mutex      // guards all that follows
	set     *HoldSet        // that it is of; nil if of none
	atLeast time.Duration   // as AtLeast says, 0 without it; it does not change once the hold has ended
	ctx     context.Context // made when it is asked for
	cancel  context.CancelCauseFunc
	cause   error // why it ended; nil while held

	risk      chan struct{}   // as AtRisk returned it last; nil until it is asked for
	wanted    *record.Request // that was seen first
	requested chan struct{}   // closed when wanted is set; nil until asked for

	held time.Duration // how long the lock was held; 0 until the hold ends
	done chan struct{} // closed when settled becomes true; nil until somebody waits for that

	fenced    bool // Fence was called
	warned    bool // as HoldRisk said last
	warns     bool // a goroutine calls HoldRisk
	committed bool // Commit was carried out, whatever becomes of the lock then
	settled   bool // the release is over: the lock is free, passed on, or lost
	early     bool // freesEarly was called; guarded by mu of the Locker instead
}

// A hooked is what a hold has for its hooks.
type hooked struct {
	contexts callback.Contexts // of their HoldStart
	told     chan struct{}     // closed when HoldEnd has run; nil until a goroutine begins to run it; guarded by mu of the Hold
}

type underKey struct{}

// An underHold is the value in contexts under a hold: in the hold's own context, and in
// the one that its function gets. bound is what ends such a context besides the hold:
// nothing for the first, the context of the acquire for the second.
type underHold struct {
	hold  *Hold
	bound context.Context
}

// HoldFrom returns the innermost hold whose context, or whose function's
// context, ctx is or descends from. The hold may have ended. For several locks
// that are held as one, there is HoldSetFrom.
func HoldFrom(ctx context.Context) (*Hold, bool) {
	for h := innermost(ctx); h != nil; h = h.outer {
		if h.ofSet() == nil {
			return h, true
		}
	}
	return nil, false
}

// innermost returns the innermost hold that ctx descends from, or nil. It may
// stand for a HoldSet.
func innermost(ctx context.Context) *Hold {
	u, _ := ctx.Value(underKey{}).(underHold)
	return u.hold
}

// under returns ctx with the value that says that it is under h.
func (h *Hold) under(ctx, bound context.Context) context.Context {
	return context.WithValue(ctx, underKey{}, underHold{h, bound})
}

func (l *Locker) newHold(ctx context.Context, g entry.Grant, maxHeld time.Duration) *Hold {
	h := &Hold{l: l, entry: g.Entry, token: tokenFor(g), maxHeld: maxHeld, since: time.Now(), read: g.Read, caller: ctx}
	h.outer = innermost(ctx)
	if h.entry.Announces {
		h.turn = make(chan struct{}, 1)
	}
	return h
}

// add makes h known, or returns why it cannot be held.
func (l *Locker) add(h *Hold) error {
	err := l.holds.Add(h.entry.Name, h, func() error {
		if l.drain.Err() != nil {
			return ErrClosed
		}
		if why := h.entry.Lease.Lost(); why != 0 {
			return &LostError{Reason: reasonOf(why), Token: h.token}
		}
		return nil
	})
	if err == nil {
		l.losses.Wake()
	}
	return err
}

// start calls HoldStart.
func (h *Hold) start(waited time.Duration) {
	if len(h.l.hooks.All) == 0 {
		return
	}
	h.hooked = new(hooked)
	h.l.hooks.holdStart(&h.hooked.contexts, h.caller, HoldStartData{Key: h.Key(), Token: h.token, Waited: waited, Shared: h.Shared(), Slots: h.entry.Slots, Weight: h.entry.Weight})
	h.caller = h.hooked.contexts.Last(h.caller)
}

// heldBy reports whether ctx descends from a live hold of the lock that l
// means by key.
func (l *Locker) heldBy(ctx context.Context, key keyspace.Key) bool {
	for h := innermost(ctx); h != nil; h = h.outer {
		for _, m := range h.members() {
			if m.entry.Key == key && m.l.root == l.root && m.l.client == l.client && m.Err() == nil {
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

// Key returns the lock's key.
func (h *Hold) Key() keyspace.Key { return h.entry.Key }

// Token returns the fencing token: greater than that of every earlier hold of
// Key's lock, in any process, but for holds that share it at the same time, or its Slots.
func (h *Hold) Token() Token { return h.token }

// Shared reports whether the hold was acquired with the option Shared.
func (h *Hold) Shared() bool { return h.entry.Entry.Shared }

// Slots returns n if the hold was acquired with the option Slots(n), otherwise 0.
func (h *Hold) Slots() int { return h.entry.Entry.Slots }

// Context returns a context that is done when the hold ends for any reason.
// context.Cause gives the reason: ErrReleased, ErrMaxHeld, ErrClosed or a
// *LostError. It carries the values of the acquire's context, and neither its
// deadline nor its cancellation.
func (h *Hold) Context() context.Context {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx == nil {
		h.ctx, h.cancel = context.WithCancelCause(h.under(context.WithoutCancel(h.caller), context.Background()))
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
		// A renewal that is answered late, or a clock that is set back, does not
		// undo it.
		h.overdue()
		return h.endCause()
	}
	return cause
}

// left is how long every lease of h surely lives.
func (h *Hold) left() time.Duration {
	left := h.entry.Lease.Remaining()
	if s := h.ofSet(); s != nil {
		for _, m := range s.holds {
			left = min(left, m.entry.Lease.Remaining())
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
// Fence was called goes to etcd, and is not handed off or retained. The fence of a
// shared hold tells that nobody holds alone, see Shared, and that of one with
// Slots that it has them. Once the hold
// has ended, Fence returns a comparison that never holds.
func (h *Hold) Fence() clientv3.Cmp {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cause != nil {
		return record.Created(h.entry.Name, -1)
	}
	h.fenced = true
	return record.Created(h.entry.Name, h.entry.Rev)
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
// hold itself, Run has nothing to add. WithReleaseInBackground has Run not wait for
// the release.
func (h *Hold) Run(fn func(ctx context.Context, h *Hold) error) error {
	if fn == nil {
		return h.run(nil)
	}
	return h.run(func(ctx context.Context) error { return fn(ctx, h) })
}

// run is Run of h, or of the set that it is of.
func (h *Hold) run(fn func(ctx context.Context) error) (err error) {
	ctx, cancel := xctx.Merge(h.under(h.caller, h.caller), h.Context())
	defer func() {
		defer cancel()
		if h.endCause() == ErrReleased {
			return // by fn, which has the result
		}
		released := h.releaseAfterRun()
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
	return fn(ctx)
}
