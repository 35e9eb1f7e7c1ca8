package locker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/entry"
	"github.com/phpgao/elock/internal/place"
	"github.com/phpgao/elock/internal/xctx"
)

// Release ends the hold and frees the lock. It works under a context that is
// done already, and waits for etcd's answer until half a second after the end
// of ctx, and 5 seconds at most.
//
// If etcd does not answer in that time, Release returns the context's error,
// ErrUnavailable, or etcd's, and goes on trying in the background until the lock
// is free or its lease has ended. If the hold ended earlier for another reason,
// Release returns that reason; if that is ErrMaxHeld, it first waits, within the
// same bounds, until the monitor has freed the lock. Releasing again is safe and returns nil, unless
// the lock is still not known to be free. Release of a nil Hold does nothing.
func (h *Hold) Release(ctx context.Context) error {
	if h == nil {
		return nil
	}
	if err := h.release(ctx); err != nil {
		return &Error{Op: "release", Key: h.names(), Err: err}
	}
	return nil
}

func (h *Hold) release(ctx context.Context) error {
	live := ctx.Err() == nil // before the release ends it
	done, _ := h.end(ErrReleased)
	alone := done && h.ofSet() == nil
	if alone && h.passOn() {
		return nil
	}
	wait := h.releasing(ctx, live)
	defer wait.Stop()
	switch {
	case alone:
		return h.give(wait)
	case done:
		return h.each(func(m *Hold) error { return m.freeIfReleased(wait) })
	}
	rest := wait.For(calls.Patience)
	defer rest.Stop()
	return h.each(func(m *Hold) error {
		if cause := m.endCause(); !errors.Is(cause, ErrReleased) {
			m.notifyEnd() // the goroutine that ended it may still be busy with other holds
			if errors.Is(cause, ErrMaxHeld) {
				select {
				case <-m.freed(): // by the monitor
				case <-rest.Done():
				}
			}
			return cause
		}
		select {
		case <-m.freed():
			if cause := m.endCause(); !errors.Is(cause, ErrReleased) {
				return cause
			}
			return nil
		case <-rest.Done():
			return unconfirmed(timeoutCause(rest, nil))
		}
	})
}

// releasing returns a context for a release of h that begins now. live says that ctx had not ended before.
func (h *Hold) releasing(ctx context.Context, live bool) *xctx.Grace {
	g := h.l.etcd.Detached(ctx)
	if live {
		g.Outliver = (*released)(h)
	}
	return g
}

// A released is a Hold that a call releases. The context of that call may be the one
// of the function that runs under the hold. The release itself ends that context, so
// the call goes by the context that bounds the function instead.
type released Hold

func (r *released) Outlives(caller context.Context) context.Context {
	if context.Cause(caller) != ErrReleased {
		return caller
	}
	under, ok := caller.Value(underKey{}).(underHold)
	if !ok || !slices.Contains((*Hold)(r).members(), under.hold) {
		return caller
	}
	return under.bound
}

// freeIfReleased frees the lock unless the hold ended earlier for another
// reason, which it returns.
func (h *Hold) freeIfReleased(ctx *xctx.Grace) error {
	if cause := h.endCause(); cause != ErrReleased {
		return cause
	}
	return h.free(ctx)
}

// free gives the lock away after the hold has ended: to the next goroutine here
// if it may pass, or else to the next in etcd. When that is settled, the lane
// opens.
func (h *Hold) free(ctx *xctx.Grace) error {
	if h.passOn() {
		return nil
	}
	return h.give(ctx)
}

// passOn is free where that asks nothing of etcd. Otherwise it reports false, and the
// caller must call give.
func (h *Hold) passOn() (done bool) {
	_ = h.orSettle(func() error {
		if h.Shared() {
			h.notifyEnd() // before the last of those who share passes the lock on
		}
		done = !h.entry.Sole() || !h.lingers() && h.mayPass() && h.entry.Pass(h.notifyEnd)
		if done {
			h.markFreed()
		}
		return nil
	})
	return done
}

// orSettle calls f, which gives the lock away. If a hook ends the goroutine before
// f has done so, the background does.
func (h *Hold) orSettle(f func() error) error {
	exits := true
	defer func() {
		if exits {
			h.settle(entry.ErrUnwanted)
		}
	}()
	err := f()
	exits = false
	return err
}

// give is free for a hold that is the last under its entry, which does not just pass on.
func (h *Hold) give(ctx *xctx.Grace) error {
	return h.orSettle(func() error {
		if h.lingers() {
			return h.linger(ctx)
		}
		if h.mayPass() && h.entry.Retain(ctx, h.notifyEnd) {
			h.markFreed()
			return nil
		}
		passed, err := h.entry.Requeue(ctx, h.notifyEnd)
		if passed {
			h.markFreed()
			return nil
		}
		if err != nil {
			return h.unfreed(timeoutCause(ctx, err))
		}
		return h.vacate(ctx)
	})
}

// linger has the entry stay. When etcd knows that, the release is settled.
func (h *Hold) linger(ctx *xctx.Grace) error {
	rest := ctx.For(calls.Patience)
	defer rest.Stop()
	err := h.move(rest)
	switch {
	case err == place.ErrDisplaced:
		if err := h.vacate(ctx); err != nil || !h.l.closed.Load() {
			return err
		}
		return ErrClosed // Close has freed the lock
	case err != nil:
		return h.unfreed(timeoutCause(rest, err))
	}
	h.notifyEnd() // if a hook ends the goroutine, the background calls outlast
	h.outlast(true, h.markFreed)
	return nil
}

// unfreed leaves it to the background to free the lock.
func (h *Hold) unfreed(err error) error {
	h.notifyEnd()
	h.settle(err)
	return unconfirmed(err)
}

// vacate removes the entry of a hold that has ended.
func (h *Hold) vacate(ctx *xctx.Grace) error {
	e := h.entry
	deleted, err := e.Leave(ctx)
	switch {
	case err != nil && e.Lease.Lost() == 0:
		return h.unfreed(timeoutCause(ctx, err))
	case !deleted && !h.l.closed.Load():
		rest := ctx.For(calls.Patience)
		lost := &LostError{Reason: fateOf(rest, e), Token: h.token}
		rest.Stop()
		h.mu.Lock()
		if errors.Is(h.cause, ErrReleased) && !h.committed {
			h.cause = lost
		}
		h.mu.Unlock()
		h.notifyEnd()
		if e.Successor != nil { // it may be in etcd
			e.Settle(lost, h.markFreed)
			return lost
		}
		e.Done()
		h.markFreed()
		return lost
	}
	h.notifyEnd()
	e.Done()
	h.markFreed()
	return nil
}

// fateOf finds out why e is gone, which its Locker did not remove.
func fateOf(ctx context.Context, e *entry.Entry) Reason {
	loss, evicted := e.Fate(ctx)
	switch {
	case loss != 0:
		return reasonOf(loss)
	case evicted:
		return ReasonEvicted
	}
	return ReasonKeyDeleted
}

// markFreed notes that the release is settled: the lock is free, passed on, or lost.
func (h *Hold) markFreed() {
	h.l.unkept.Remove(h)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.settled = true
	if h.done != nil {
		close(h.done)
	}
}

// freed returns a channel that is closed when the release is settled.
func (h *Hold) freed() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.done == nil {
		h.done = make(chan struct{})
		if h.settled {
			close(h.done)
		}
	}
	return h.done
}

// mayPass reports whether the lock may pass on without etcd seeing a change of
// holder: not if its Fence was called, or if its owner did not release it.
func (h *Hold) mayPass() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.fenced && h.cause == ErrReleased
}

func unconfirmed(err error) error {
	return fmt.Errorf("not confirmed; retrying in the background: %w", err)
}
