package locker

import (
	"context"
	"errors"
	"fmt"
)

// Release ends the hold and frees the lock. It works under a context that is
// done already, and waits for etcd's answer until half a second after the end
// of ctx, and 5 seconds at most.
//
// If etcd does not answer in that time, Release returns the context's error,
// ErrUnavailable, or etcd's, and goes on trying in the background until the lock
// is free or its lease has ended. If the hold ended earlier for another reason,
// Release returns that reason. Releasing again is safe and returns nil, unless
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
	wait := h.releasing(ctx)
	defer wait.stop()
	if h.end(ErrReleased) {
		return h.each(func(m *Hold) error { return m.freeIfReleased(wait) })
	}
	return h.each(func(m *Hold) error {
		if cause := m.ending(); !errors.Is(cause, ErrReleased) {
			m.ended() // who ended it may have others to see to first
			return cause
		}
		select {
		case <-m.freed():
			if cause := m.ending(); !errors.Is(cause, ErrReleased) {
				return cause
			}
			return nil
		case <-wait.Done():
			return unconfirmed(wait.silence(nil))
		}
	})
}

// freeIfReleased frees the lock unless the hold ended earlier for another
// reason, which it returns.
func (h *Hold) freeIfReleased(ctx *late) error {
	if cause := h.ending(); cause != ErrReleased {
		return cause
	}
	return h.free(ctx)
}

// free gives the lock away after the hold has ended: to the next goroutine here
// if it may pass, or else to the next in etcd. When that is settled, the lane
// opens.
func (h *Hold) free(ctx *late) error {
	c := h.claim
	if !c.sole() {
		h.ended()
		h.settle()
		return nil
	}
	if h.mayPass() && c.pass(h.ended) {
		h.settle()
		return nil
	}
	if h.mayPass() && c.retain(ctx, h.ended) {
		h.settle()
		return nil
	}
	passed, err := c.requeue(ctx, h.ended)
	if passed {
		h.settle()
		return nil
	}
	if err != nil {
		return h.unfreed(ctx.silence(err))
	}
	return h.vacate(ctx)
}

// unfreed leaves it to the background to free the lock.
func (h *Hold) unfreed(err error) error {
	h.ended()
	h.claim.settle(err, h.settle)
	return unconfirmed(err)
}

// vacate removes the entry of a hold that has ended.
func (h *Hold) vacate(ctx *late) error {
	c := h.claim
	deleted, err := c.remove(ctx)
	switch {
	case err != nil:
		return h.unfreed(ctx.silence(err))
	case !deleted && !c.l.closed.Load():
		lost := &LostError{Reason: c.fate(ctx), Token: h.token}
		h.mu.Lock()
		if errors.Is(h.cause, ErrReleased) && !h.committed {
			h.cause = lost
		}
		h.mu.Unlock()
		h.ended()
		if c.heir != nil { // perhaps it is there
			c.settle(lost, h.settle)
			return lost
		}
		c.done()
		h.settle()
		return lost
	}
	h.ended()
	c.done()
	h.settle()
	return nil
}

// settle notes that the release is settled.
func (h *Hold) settle() {
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

// mayPass reports whether the lock may pass on without a change in etcd, where
// it looks as if the hold went on: not if that could be told by its fence, or
// was not its owner's will.
func (h *Hold) mayPass() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.fenced && h.cause == ErrReleased
}

// unsettled reports whether a release is not confirmed yet.
func (h *Hold) unsettled() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return errors.Is(h.cause, ErrReleased) && !h.settled
}

func unconfirmed(err error) error { return fmt.Errorf("not confirmed, trying on: %w", err) }
