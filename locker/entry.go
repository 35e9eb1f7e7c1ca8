package locker

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/lease"
	"github.com/phpgao/elock/internal/place"
	"github.com/phpgao/elock/internal/queue"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/internal/retain"
	"github.com/phpgao/elock/keyspace"
)

// An entry is one in the queue of a lock in etcd, as this process uses it.
//
// It belongs to the goroutine that occupies the key's lane. It may pass
// with the lane, so that several goroutines hold the lock under it, one after
// another, or share it at the same time: then it does not change.
type entry struct {
	queue.Entry
	l *Locker

	seat      int  // in the key's lane, of one that takes slots; 0: the lane itself
	announces bool // as Announcing says: it is for one hold only

	waited  bool      // for others, in etcd
	granted time.Time // when it was first in the queue; zero before
	passed  Token     // how often the lock was passed on under it

	asks  atomic.Int32 // how many holds under it have begun to ask who wants the lock
	asked atomic.Bool  // somebody has asked for the lock

	retention *retain.Retention // nil if it was never retained
	known     *mvccpb.KeyValue  // the guarded value that the last commit has put under it; nil if that is not known
}

// A grant is a lock as one caller gets it.
type grant struct {
	entry *entry // shared by several if the lock is
	token Token
	read  *record.Read // what ReadKeys asked for
}

// newEntry returns an entry that is not in etcd yet.
func (l *Locker) newEntry(key keyspace.Key, s *lease.Lease, as caller) *entry {
	r := record.Record{
		Owner:       as.who.Name,
		Mode:        as.want.mode(),
		Since:       as.who.Since,
		Annotations: as.who.Annotations,
		Slots:       as.want.Slots,
		Weight:      as.want.Weight,
	}
	r.Announce(as.want.announcement)
	e := &entry{l: l, Entry: l.queues.Entry(key, s, r, as.want.reads), seat: as.seat, announces: as.want.announces}
	if e.seat > 0 { // each has an entry of its own
		e.Name += "." + strconv.Itoa(e.seat)
	}
	return e
}

// maxGrants is how many holds one entry in etcd serves: their tokens share the bits
// below the revision.
const maxGrants = 1<<tokenShift - 1

// token is that of the hold under e.
func (e *entry) token() Token { return tokenOf(e.Rev) + e.passed }

// obtain gets the lock: when it returns nil, e is the first in the queue. ctx
// bounds the wait. On failure e.Sent tells whether anything may be in etcd.
func (e *entry) obtain(ctx context.Context, try bool, blocked func(BlockedData)) error {
	err := e.Obtain(ctx, try, func(ahead *mvccpb.KeyValue, n int) {
		blocked(BlockedData{Key: e.Key, By: ownerOf(ahead), Ahead: n})
		e.waited = !try
	})
	switch err {
	case nil:
		return e.check(ctx)
	case queue.ErrTaken:
		return ErrLocked
	}
	return err
}

// check returns why e, which is the first in the queue, cannot be held, if so.
func (e *entry) check(ctx context.Context) error {
	if e.Lease.Remaining() <= 0 {
		e.Lease.Lose(lease.Overdue)
	}
	// An end that comes together with the grant comes before it.
	if e.Lease.Waits().Err() != nil {
		return context.Cause(e.Lease.Waits())
	}
	if why := e.Lease.Lost(); why != 0 { // another goroutine is about to end its contexts
		return &LostError{Reason: reasonOf(why)}
	}
	if e.granted.IsZero() {
		e.granted = time.Now()
	}
	if ctx.Err() != nil {
		return place.WaitEnd{Cause: context.Cause(ctx)}
	}
	return nil
}

// usable reports whether e, which came with the lane, is a good entry for what
// is wanted. One that announces was made for this caller, in place of the last holder.
func (e *entry) usable(want request) bool {
	return e.announces == want.announces && e.Lease.Suits(want.seconds) && e.Claim == want.Claim && e.Lease.Waits().Err() == nil && e.Lease.Remaining() > 0 && e.retention.Usable()
}

// fate finds out why e is gone, which this Locker did not remove.
func (e *entry) fate(ctx context.Context) Reason {
	loss, evicted := e.Fate(ctx)
	switch {
	case loss != 0:
		return reasonOf(loss)
	case evicted:
		return ReasonEvicted
	}
	return ReasonKeyDeleted
}

// fits reports whether e, which another caller put, may be held as want says.
func (e *entry) fits(want request) bool { return want.Claim == e.Claim && !want.announces }

// passable reports whether there may be another hold under e. Others who share
// a lock were let in as they came; an announcement is of one hold.
func (e *entry) passable() bool {
	return !e.Shared && !e.announces && !e.asked.Load() && e.passed < maxGrants && e.Lease.Waits().Err() == nil && e.Lease.Remaining() > 0 && !e.retention.Wanted()
}

// next returns the first in line for e's lane if e's lease is one for it, or nil.
func (e *entry) next() *waiter {
	if w := e.l.lanes.NextAt(e.Key, e.seat); w != nil && e.Lease.Suits(w.Value.want.seconds) {
		return w
	}
	return nil
}

// sole takes the caller, who does not hold any more, away from those who share e, and
// reports whether nobody else is left. If so, the caller must release e; otherwise it
// must not use e any more.
func (e *entry) sole() bool { return !e.Shared || e.l.lanes.Part(e.Key) }

// settle removes e from etcd on a goroutine, trying until it is done or the
// lease has ended, then opens the lane, and calls then.
func (e *entry) settle(cause error, then func()) {
	if !e.sole() {
		then()
		return
	}
	finish := func() {
		e.done()
		then()
	}
	if !e.l.spawn(func() { e.Clean(cause); finish() }) {
		finish() // Close revokes the lease
	}
}

// done gives up the lane and the lease, unless others still hold with e. e is not
// in etcd any more, or ends there with its lease.
func (e *entry) done() {
	if !e.sole() {
		return
	}
	e.drop()
	e.l.lanes.LeaveSeat(e.Key, e.seat)
}

// drop gives up the lease.
func (e *entry) drop() {
	e.retention.Stop()
	e.Lease.Part()
}

// abandon removes entries, whose locks are not wanted for the reason of err, and
// waits a moment for that.
func abandon(err error, entries ...*entry) {
	if len(entries) == 0 {
		return
	}
	settled := make(chan struct{}, len(entries))
	for _, e := range entries {
		if e.Sent {
			e.settle(err, func() { settled <- struct{}{} })
		} else {
			e.done()
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
