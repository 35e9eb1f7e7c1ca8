package locker

import (
	"time"
)

// pass gives e away without contacting etcd: to the next goroutine in line, or
// for a while to nobody. notify is called before that.
func (e *entry) pass(notify func()) bool {
	if !e.passable() {
		return false
	}
	next := e.next()
	if next != nil && !e.fits(next.Value.want) {
		return false
	}
	if next == nil {
		return e.retention != nil && e.park(notify)
	}
	if time.Since(e.granted) >= e.l.handoff {
		return false
	}
	notify()
	e.passed++
	for next != nil && e.fits(next.Value.want) {
		if e.l.lanes.HandAt(e.Key, e.seat, e, next) {
			return true
		}
		next = e.next() // that one has given up, or has another seat
	}
	return false
}
