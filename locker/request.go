package locker

import (
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/phpgao/elock/internal/record"
)

// Requested returns a channel that is closed when somebody asks for the lock by RequestRelease, and
// never if nobody does. The hold goes on: to hand over, release it. It need not; whoever asks may
// Evict it in the end.
//
// A request is seen as an eviction is: within the latency of a watch, or within 2 seconds of the
// grant. While no watch works, it is seen within seconds. A hold that shares a lock is asked as all
// who share it are, and one of a HoldSet when any of its locks is. A lock that its Locker hands on
// within the process before it has seen the request takes that along: the next hold is asked.
func (h *Hold) Requested() <-chan struct{} {
	h.mu.Lock()
	first := h.requested == nil
	if first {
		h.requested = make(chan struct{})
		if h.wanted != nil {
			close(h.requested)
		}
	}
	requested := h.requested
	h.mu.Unlock()
	if first {
		for _, m := range h.members() {
			m.entry.Asks.Add(1)
		}
	}
	return requested
}

// RequestReason returns why somebody has asked for the lock: what the first of them said to
// RequestRelease. It is "" if nobody has, or gave no reason.
func (h *Hold) RequestReason() string { return h.asked().Reason }

// RequestedBy returns the owner that has asked for the lock first, as WithOwner names it; "" if
// nobody has.
func (h *Hold) RequestedBy() string { return h.asked().By }

func (h *Hold) asked() record.Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.wanted == nil {
		return record.Request{}
	}
	return *h.wanted
}

// Requested is closed when somebody asks for any of the locks, as that of a Hold is.
func (s *HoldSet) Requested() <-chan struct{} { return s.holds[0].Requested() }

// RequestReason is as that of a Hold.
func (s *HoldSet) RequestReason() string { return s.holds[0].RequestReason() }

// RequestedBy is as that of a Hold.
func (s *HoldSet) RequestedBy() string { return s.holds[0].RequestedBy() }

// request notes that somebody has asked for h's lock, if r is not nil.
func (h *Hold) request(r *record.Request) {
	if r == nil {
		return
	}
	h.entry.Asked.Store(true)
	for _, m := range h.members() {
		m.mu.Lock()
		if m.wanted == nil {
			m.wanted = r
			if m.requested != nil {
				close(m.requested)
			}
		}
		m.mu.Unlock()
	}
}

// entriesPut notes requests in the entries of holds.
func (l *Locker) entriesPut(kvs []*mvccpb.KeyValue) {
	for _, kv := range kvs {
		if r := record.Requested(kv); r != nil {
			for _, h := range l.holds.Get(string(kv.Key)) {
				if h.entry.Is(kv) {
					h.request(r)
				}
			}
		}
	}
}
