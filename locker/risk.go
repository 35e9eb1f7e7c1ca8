package locker

import (
	"slices"

	"github.com/phpgao/elock/internal/lease"
)

// AtRisk returns a channel that is closed when the lock is at risk: no renewal of its lease was answered for so long that Remaining
// is a quarter of the TTL, or less. One answer that is lost or late does not close it. What Remaining says is the time that is left
// to save work, or to stop.
//
// It is closed when the hold ends, too, for any reason and before Context is done: nobody waits at it for ever. Err tells the two
// apart.
//
// A channel never opens again. When a renewal is answered, the hold is at risk no more, and the next call returns another channel,
// which is open; hooks are told by HoldRisk. So call AtRisk again after a pause, not in a loop that does nothing else: while the
// hold is at risk, each call returns a closed channel. AtRisk consults the clocks, as Err does, and it is right at once after a
// pause of the process. It never contacts etcd.
//
// Of a process that stood still, or a machine that slept, the hold may have ended when it goes on: Err says so, then the channel is
// closed, and then Context is done.
func (h *Hold) AtRisk() <-chan struct{} {
	members := h.members()
	h.mu.Lock()
	defer h.mu.Unlock()
	risky := h.cause != nil || slices.ContainsFunc(members, func(m *Hold) bool { return m.entry.Lease.AtRisk() })
	if h.risk == nil || isClosed(h.risk) && !risky {
		h.risk = make(chan struct{})
	}
	if risky {
		closeOnce(h.risk)
	}
	return h.risk
}

// AtRisk returns a channel that is closed when one of the locks is at risk, or the holds have ended.
func (s *HoldSet) AtRisk() <-chan struct{} { return s.holds[0].AtRisk() }

// closeOnce closes c unless it is nil or closed. Its callers hold the mutex that guards c.
func closeOnce(c chan struct{}) {
	if c != nil && !isClosed(c) {
		close(c)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// leaseRisk tells of all holds under a lease that they are at risk, or not any more.
func (l *Locker) leaseRisk(s *lease.Lease) {
	holds := l.holds.All(func(h *Hold) bool { return h.entry.Lease == s })
	if len(holds) == 0 {
		return
	}
	if left := s.Remaining(); s.AtRisk() {
		for _, h := range holds {
			first := h.members()[0]
			first.mu.Lock()
			closeOnce(first.risk)
			first.mu.Unlock()
		}
		l.log.Warn("elock: locks at risk", "lease", int64(s.ID()), "left", left, "holds", len(holds), "owner", l.owner)
	} else {
		l.log.Info("elock: locks at risk no more", "lease", int64(s.ID()), "left", left, "holds", len(holds), "owner", l.owner)
	}
	l.finish(holds, (*Hold).tellRisk)
}

// tellRisk has the hooks know whether h is at risk. One goroutine at a time calls them for h, and none once HoldEnd is due.
func (h *Hold) tellRisk() {
	hooks := &h.l.hooks
	if len(hooks.All) == 0 {
		return
	}
	for {
		h.mu.Lock()
		at := h.entry.Lease.AtRisk()
		if h.warns || h.cause != nil || at == h.warned {
			h.mu.Unlock()
			return
		}
		h.warns, h.warned = true, at
		h.mu.Unlock()
		hooks.holdRisk(h.hooked.contexts, HoldRiskData{Key: h.Key(), Token: h.token, AtRisk: at, Remaining: max(0, h.entry.Lease.Remaining())})
		h.mu.Lock()
		h.warns = false
		h.mu.Unlock()
	}
}
