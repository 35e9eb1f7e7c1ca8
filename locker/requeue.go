package locker

import (
	"github.com/phpgao/elock/internal/xctx"
)

// requeue deletes e and, in the same transaction, puts a successor at the end
// of the queue for the next goroutine in line. It calls notify, and passes the successor
// on with the lane. It reports false if there is no such goroutine, or if e is not in
// etcd as it was: then nothing has changed. It is not for seats: the occupants of others
// would meanwhile give theirs to the same goroutine.
func (e *entry) requeue(w *xctx.Grace, notify func()) (bool, error) {
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
func (e *entry) successorFor(next *waiter) *entry {
	as := next.Value
	as.seat = e.seat
	successor := e.l.newEntry(e.Key, e.Lease, as)
	if successor.Name == e.Name {
		successor.Name += "-1" // a transaction may not delete a key and put it
	}
	return successor
}

// replaced passes the lane to next with successor, which has joined the queue.
func (e *entry) replaced(successor *entry, next *waiter, notify func()) {
	e.retention.Stop()
	e.Successor = &successor.Entry // if a hook ends the goroutine before the lane has passed, both are cleaned up
	notify()
	e.Successor = nil
	if !e.l.lanes.HandAt(e.Key, e.seat, successor, next) {
		successor.settle(errUnwanted, func() {})
	}
}
