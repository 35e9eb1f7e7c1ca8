package locker

import (
	"time"

	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/xctx"
)

// endCause returns why the hold ended, nil while it is held.
func (h *Hold) endCause() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cause
}

// end ends the hold, and with it the others of its set. It reports whether this call
// ended the hold: then the caller must call notifyEnd and see to the entry. For each of
// others, which this call ended too, it must call endedWithOthers.
func (h *Hold) end(cause error) (done bool, others []*Hold) {
	done, set := h.endUnless(nil, cause)
	if set != nil {
		return set.end(h, cause)
	}
	return done, nil
}

// endUnless ends h alone, and reports whether this call did. If h is of another set
// than mine, nil being none, it does nothing and returns that set.
func (h *Hold) endUnless(mine *HoldSet, cause error) (done bool, other *HoldSet) {
	h.mu.Lock()
	if h.set != mine {
		defer h.mu.Unlock()
		return false, h.set
	}
	first := h.cause == nil
	if first {
		h.cause, h.held = cause, time.Since(h.since)
		closeOnce(h.risk)
		if cause == ErrReleased || cause == ErrMaxHeld {
			h.owe()
		}
	}
	cancel := h.cancel
	h.mu.Unlock()
	if first {
		if cancel != nil {
			cancel(cause)
		}
		h.l.holds.Remove(h.entry.Name, h)
	}
	return first, nil
}

// owe notes for Close that h, which has ended, is yet to be kept, if AtLeast says so.
func (h *Hold) owe() {
	if h.held < h.atLeast {
		h.l.unkept.Add(h)
	}
}

// endAll ends holds for one cause: first the contexts of all of them, and then it
// does what may take time.
func endAll(holds []*Hold, cause func(*Hold) error) (ended int) {
	if len(holds) == 0 {
		return 0
	}
	var mine, others []*Hold
	for _, h := range holds {
		if done, also := h.end(cause(h)); done {
			mine, others = append(mine, h), append(others, also...)
		}
	}
	l := holds[0].l
	l.finish(mine, (*Hold).endedInEtcd)
	l.finish(others, (*Hold).endedWithOthers)
	return len(mine)
}

// notifyEnd runs HoldEnd once, before the lock passes on.
func (h *Hold) notifyEnd() {
	hooks := &h.l.hooks
	if len(hooks.All) == 0 {
		return
	}
	h.mu.Lock()
	d := HoldEndData{Key: h.Key(), Token: h.token, Held: h.held, Cause: h.cause, AtRisk: h.warned, Requested: h.wanted != nil}
	told, first := h.hooked.told, h.hooked.told == nil
	if first {
		told = make(chan struct{})
		h.hooked.told = told
	}
	h.mu.Unlock()
	if first {
		defer close(told)
		hooks.holdEnd(h.hooked.contexts, d)
		return
	}
	select {
	case <-told:
	default:
		// Another goroutine runs the hooks. One that calls the Locker, though it
		// must not, may wait for itself here: not for ever.
		xctx.Await(told, calls.Grace)
	}
}

// endedInEtcd sees to a hold whose entry is gone from etcd, or goes with its lease.
func (h *Hold) endedInEtcd() {
	defer h.entry.Done() // even if a hook ends the goroutine
	h.notifyEnd()
}

// endedWithOthers sees to a hold that ended as another of its set did.
func (h *Hold) endedWithOthers() {
	defer h.settle(h.endCause())
	h.notifyEnd()
}

// overdue ends a hold that may be gone, by the clocks. Its lease may live, and so
// the entries are removed.
func (h *Hold) overdue() {
	done, others := h.end(&LostError{Reason: ReasonDeadline, Token: h.token})
	if !done {
		return
	}
	l := h.l
	l.finish([]*Hold{h}, (*Hold).endedWithOthers)
	l.finish(others, (*Hold).endedWithOthers)
}

// settle frees the lock in the background, or keeps it, as AtLeast says.
func (h *Hold) settle(cause error) {
	closing := h.l.closed.Load() && h.endCause() == ErrClosed // then Close keeps it
	if !closing && h.lingers() {
		h.outlast(false, h.markFreed)
		return
	}
	h.entry.Settle(cause, h.markFreed)
}
