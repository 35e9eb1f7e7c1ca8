package work

import (
	"errors"
	"sync/atomic"
	"time"
)

// A crowd is all who want one lock. It sees that they exclude each other, and how long the lock takes from one to the next.
type crowd struct {
	began    time.Time
	slots    int32 // how many may hold it at once; 0: one. Whoever holds it alone takes all of them
	inside   atomic.Int32
	last     atomic.Pointer[member] // who held it last
	released atomic.Int64           // when its release began: nanoseconds since began
}

var errTwo = errors.New("work: more hold the lock than may")

// enter is called once the lock is held. A hand-over takes from the begin of the release until the next acquire returns.
// Between readers there is none.
func (c *crowd) enter(w *member) error {
	if c.inside.Add(max(w.takes, 1)) > max(c.slots, 1) {
		return errTwo
	}
	if last := c.last.Swap(w); last != nil && last != w && !(last.reads && w.reads) {
		w.count(&w.handovers, time.Since(c.began)-time.Duration(c.released.Load()))
	}
	return nil
}

// leave is called before the release begins.
func (c *crowd) leave(w *member) {
	c.inside.Add(-max(w.takes, 1))
	c.released.Store(int64(time.Since(c.began)))
}
