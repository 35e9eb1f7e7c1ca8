package entry

import "context"

// mayRetain reports whether it is worth a try to retain e. An entry that had to wait
// is not retained: others want its lock, too. Nor are slots.
func (e *Entry) mayRetain() bool { return e.set.cfg.Retains && !e.Waited && e.seat == 0 }

// Retain begins to retain an entry that nobody here waits for. notify is called when
// etcd knows of that. It reports false if the entry is not retained.
func (e *Entry) Retain(ctx context.Context, notify func()) bool {
	if !e.mayRetain() || e.retention != nil || !e.passable() || e.set.Lanes.Waiting(e.Key) > 0 {
		return false
	}
	r := e.set.cfg.Retained.Begin(ctx, &e.Entry)
	if r == nil {
		return false
	}
	e.retention = r
	return e.set.cfg.Spawn(func() { r.Run(e.recall) }) && e.park(notify)
}

// park leaves e in the lane, from which the next acquire here takes it, or recall.
func (e *Entry) park(notify func()) bool {
	notify()
	e.Read = nil // too old for the next hold
	e.turn++
	e.retention.Released()
	if !e.set.Lanes.Park(e.Key, e) {
		return false
	}
	if e.retention.Wanted() && e.set.Lanes.Recall(e.Key, e) && !e.set.cfg.Spawn(e.giveUp) { // its Run has ended
		e.Done()
	}
	return true
}

// recall gives e up unless somebody here holds its lock.
func (e *Entry) recall() bool {
	if !e.set.Lanes.Recall(e.Key, e) {
		return false
	}
	e.giveUp()
	return true
}

// giveUp removes e from etcd, in the background if need be, and then opens the
// lane.
func (e *Entry) giveUp() {
	w := e.set.cfg.Etcd.Detached(e.Lease.Context())
	defer w.Stop()
	if _, err := e.Leave(w); err != nil {
		e.Settle(e.set.cfg.Released, func() {})
		return
	}
	e.Done()
}
