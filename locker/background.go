package locker

import (
	"runtime"

	"github.com/phpgao/elock/internal/callback"
	"github.com/phpgao/elock/internal/entry"
	"github.com/phpgao/elock/internal/xctx"
	"github.com/phpgao/elock/keyspace"
)

// WithReleaseInBackground has RunInLock, Hold.Run and HoldSet.Run return as soon as their function has: the release goes
// on in the background. So a lock and its unlock cost the caller one round trip to etcd instead of two. The hold has
// ended, as after any release. Hold.Release and Hold.Commit still wait for etcd.
//
// Run returns a loss that is known when the function returns. What the release finds later is logged, and failed is called
// with it, which may be nil. The error is an *Error: it matches ErrLost if the lock was gone before its release; any other
// says that the release is not confirmed, and is retried. failed runs on a goroutine of its own, which Close does not wait
// for; its panic is logged. A Release of the hold after Run waits for the release, and returns its result.
//
// The release goes to etcd with the next write of the Locker. Unless others want the lock, it waits for one while
// another is on its way, and half a millisecond more; not WithoutBatching.
//
// Until etcd has answered, the lock is not free. An acquire of it by this Locker waits for that, and is passed the lock
// if it may be (WithHandoff), also if it comes from the same goroutine. A TryAcquire is ErrLocked meanwhile. A release
// that needs no answer of etcd is done when Run returns. Each of the others has a goroutine, for which Close and Shutdown
// wait. Once the Locker is closed, releases are on the caller's goroutine again.
func WithReleaseInBackground(failed func(key keyspace.Key, err error)) Option {
	return func(c *config) { c.inBackground, c.onUnreleased = true, failed }
}

// releaseAfterRun is the release that Run makes. It returns what is known when the caller need not wait any longer.
func (h *Hold) releaseAfterRun() error {
	if !h.l.inBackground || h.Err() != nil { // by the clocks: the machine may have slept
		return h.release(h.caller)
	}
	if done, _ := h.end(ErrReleased); !done {
		return h.release(h.caller)
	}
	return h.each((*Hold).freeInBackground)
}

// freeInBackground is freeIfReleased, but does not wait for etcd unless the Locker is closed.
func (h *Hold) freeInBackground() error {
	if cause := h.endCause(); cause != ErrReleased {
		return cause
	}
	if h.passOn() || h.l.spawn(h.freeLater) {
		return nil
	}
	ctx := h.releasing(h.caller, h.caller.Err() == nil)
	defer ctx.Stop()
	return h.give(ctx)
}

// freeLater frees the lock, within the bounds of a release whose caller waits. When the Locker closes, half a second is
// left for it.
func (h *Hold) freeLater() {
	runtime.Gosched() // a caller that wants the lock again at once queues meanwhile, and gets it passed
	ctx := h.l.etcd.Detached(xctx.WithValues(h.l.ctx, h.caller))
	ctx.Patient = !h.entry.Waited && !h.l.feeds.Has(h.Key().Path(h.l.prefix)) // otherwise others want the lock, or did so a moment ago
	defer ctx.Stop()
	err := unconfirmed(entry.ErrUnwanted) // if a hook ends the goroutine
	defer func() {
		if err != nil && err != ErrClosed { // Close has freed it
			h.l.unreleased(h.Key(), &Error{Op: "release", Key: h.Key().String(), Err: err})
		}
	}()
	err = h.free(ctx)
}

// unreleased tells of a release that has failed after Run had returned.
func (l *Locker) unreleased(key keyspace.Key, err error) {
	l.log.Warn("elock: a release in the background has failed", "key", key.String(), "owner", l.owner, "err", err)
	if l.onUnreleased == nil {
		return
	}
	go callback.Call(func() { l.onUnreleased(key, err) }, func(panicked any, stack string) {
		if panicked != nil {
			l.log.Error("elock: callback of a failed release panicked", "key", key.String(), "owner", l.owner, "panic", panicked, "stack", stack)
		}
	})
}
