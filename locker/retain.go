package locker

import "context"

// mayRetain reports whether it is worth a try to retain e. An entry that had to wait
// is not retained: others want its lock, too. Nor are slots.
func (e *entry) mayRetain() bool { return e.l.retain > 0 && !e.waited && e.seat == 0 }

// retain begins to retain an entry that nobody here waits for. notify is called when
// etcd knows of that. It reports false if the entry is not retained.
func (e *entry) retain(ctx context.Context, notify func()) bool {
	if !e.mayRetain() || e.retention != nil || !e.passable() || e.l.lanes.Waiting(e.Key) > 0 {
		return false
	}
	r := e.l.retained.Begin(ctx, &e.Entry)
	if r == nil {
		return false
	}
	e.retention = r
	return e.l.spawn(func() { r.Run(e.recall) }) && e.park(notify)
}

// park leaves e in the lane, from which the next acquire here takes it, or recall.
func (e *entry) park(notify func()) bool {
	notify()
	e.Read = nil // too old for the next hold
	e.passed++
	e.retention.Released()
	if !e.l.lanes.Park(e.Key, e) {
		return false
	}
	if e.retention.Wanted() && e.l.lanes.Recall(e.Key, e) { // its Run has ended
		if !e.l.spawn(func() { e.giveUp(ErrReleased) }) {
			e.done()
		}
	}
	return true
}

// recall gives e up unless somebody here holds its lock.
func (e *entry) recall() bool {
	if !e.l.lanes.Recall(e.Key, e) {
		return false
	}
	e.giveUp(ErrReleased)
	return true
}

// giveUp removes e from etcd, in the background if need be, and then opens the
// lane.
func (e *entry) giveUp(cause error) {
	w := e.l.etcd.Detached(e.Lease.Context())
	defer w.Stop()
	if _, err := e.Leave(w); err != nil {
		e.settle(cause, func() {})
		return
	}
	e.done()
}
