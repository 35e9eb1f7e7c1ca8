package entry

import (
	"errors"
	"time"

	"github.com/phpgao/elock/internal/calls"
)

// ErrUnwanted is why an entry is removed that nobody uses any more, such as one whose
// goroutine a hook has ended.
var ErrUnwanted = errors.New("locker: nobody waits any more")

// Sole takes the caller, who does not hold any more, away from those who share e, and
// reports whether nobody else is left. If so, the caller must release e; otherwise it
// must not use e any more.
func (e *Entry) Sole() bool { return !e.Shared || e.set.Lanes.Part(e.Key) }

// Settle removes e from etcd on a goroutine, trying until it is done or the
// lease has ended, then opens the lane, and calls then.
func (e *Entry) Settle(cause error, then func()) {
	if !e.Sole() {
		then()
		return
	}
	finish := func() {
		e.Done()
		then()
	}
	if !e.set.cfg.Spawn(func() { e.Clean(cause); finish() }) {
		finish() // the end of the process revokes the lease
	}
}

// Done gives up the lane and the lease, unless others still hold with e. e is not
// in etcd any more, or ends there with its lease.
func (e *Entry) Done() {
	if !e.Sole() {
		return
	}
	e.Drop()
	e.OpenLane()
}

// Drop gives up the lease.
func (e *Entry) Drop() {
	e.retention.Stop()
	e.Lease.Part()
}

// OpenLane gives up the lane, or the seat in it.
func (e *Entry) OpenLane() { e.set.Lanes.LeaveSeat(e.Key, e.seat) }

// Abandon removes entries, whose locks are not wanted for the reason of err, and
// waits a moment for that.
func Abandon(err error, entries ...*Entry) {
	if len(entries) == 0 {
		return
	}
	settled := make(chan struct{}, len(entries))
	for _, e := range entries {
		if e.Sent {
			e.Settle(err, func() { settled <- struct{}{} })
		} else {
			e.Done()
			settled <- struct{}{}
		}
	}
	wait := time.NewTimer(calls.Grace / 2)
	defer wait.Stop()
	for range entries {
		select {
		case <-settled:
		case <-wait.C:
			return
		}
	}
}
