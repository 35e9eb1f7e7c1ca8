package entry

import "github.com/phpgao/elock/internal/xctx"

// Pass gives e away without contacting etcd: to the next goroutine in line, or
// for a while to nobody. notify is called before that.
func (e *Entry) Pass(notify func()) bool {
	if !e.passable() {
		return false
	}
	next := e.next()
	if next != nil && !e.fits(&next.Value.Want) {
		return false
	}
	if next == nil {
		return e.retention != nil && e.park(notify)
	}
	if !e.young() {
		return false
	}
	notify()
	e.turn++
	for next != nil && e.fits(&next.Value.Want) {
		if e.set.Lanes.HandAt(e.Key, e.seat, e, next) {
			return true
		}
		next = e.next() // that one has given up, or has another seat
	}
	return false
}

// Requeue deletes e and, in the same transaction, puts a successor at the end
// of the queue for the next goroutine in line. It calls notify, and passes the successor
// on with the lane. It reports false if there is no such goroutine, or if e is not in
// etcd as it was: then nothing has changed. It is not for seats: the occupants of others
// would meanwhile give theirs to the same goroutine.
func (e *Entry) Requeue(w *xctx.Grace, notify func()) (bool, error) {
	next := e.next()
	if next == nil || e.seat > 0 || e.Lease.Waits().Err() != nil {
		return false, nil
	}
	successor := e.successorFor(next)
	replaced, err := e.Replace(w, &successor.Entry)
	if !replaced {
		return false, err
	}
	e.replaced(successor, next, notify)
	return true, nil
}

// successorFor returns an entry for next that can take e's place in one transaction.
func (e *Entry) successorFor(next *Waiter) *Entry {
	as := next.Value
	as.seat = e.seat
	successor := e.set.newEntry(e.Key, e.Lease, as)
	if successor.Name == e.Name {
		successor.Name += "-1" // a transaction may not delete a key and put it
	}
	return successor
}

// replaced passes the lane to next with successor, which has joined the queue.
func (e *Entry) replaced(successor *Entry, next *Waiter, notify func()) {
	e.retention.Stop()
	e.Successor = &successor.Entry // if a hook ends the goroutine before the lane has passed, both are cleaned up
	notify()
	e.Successor = nil
	if !e.set.Lanes.HandAt(e.Key, e.seat, successor, next) {
		successor.Settle(ErrUnwanted, func() {})
	}
}
