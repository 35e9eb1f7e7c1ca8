package entry

import (
	"context"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/phpgao/elock/internal/clock"
	"github.com/phpgao/elock/internal/lease"
	"github.com/phpgao/elock/internal/place"
	"github.com/phpgao/elock/internal/queue"
	"github.com/phpgao/elock/internal/retain"
)

// An Entry is one in the queue of a lock in etcd, as this process uses it.
//
// It belongs to the goroutine that occupies the key's lane. It may pass
// with the lane, so that several goroutines hold the lock under it, one after
// another, or share it at the same time: then it does not change.
type Entry struct {
	queue.Entry
	set *Set

	Asks      atomic.Int32 // how many holds under it have begun to ask who wants the lock
	Asked     atomic.Bool  // somebody has asked for the lock: it does not pass on
	Announces bool         // it is for one hold only, which announces something
	Waited    bool         // for others, in etcd

	seat    int   // in the key's lane, of one that takes slots; 0: the lane itself
	granted int64 // when it was first in the queue, by clock.Mono; 0 before
	turn    int   // how often the lock was passed on under it

	retention *retain.Retention // nil if it was never retained
	known     *mvccpb.KeyValue  // the guarded value that the last commit has put under it; nil if that is not known
}

// obtain gets the lock: when it returns nil, e is the first in the queue. ctx
// bounds the wait. On failure e.Sent tells whether anything may be in etcd. If
// blocked ends the goroutine, obtain gives e up.
func (e *Entry) obtain(ctx context.Context, try bool, blocked func(Ahead)) (err error) {
	err = ErrUnwanted
	defer func() {
		if err == ErrUnwanted {
			Abandon(err, e)
		}
	}()
	err = e.Obtain(ctx, try, func(ahead *mvccpb.KeyValue, n int) {
		blocked(Ahead{Entry: ahead, N: n})
		e.Waited = !try
	})
	switch err {
	case nil:
		return e.check(ctx)
	case queue.ErrTaken:
		return e.set.cfg.Locked
	}
	return err
}

// check returns why e, which is the first in the queue, cannot be held, if so.
func (e *Entry) check(ctx context.Context) error {
	if e.Lease.Remaining() <= 0 {
		e.Lease.Lose(lease.Overdue)
	}
	// An end that comes together with the grant comes before it.
	if e.Lease.Waits().Err() != nil {
		return context.Cause(e.Lease.Waits())
	}
	if why := e.Lease.Lost(); why != 0 { // another goroutine is about to end its contexts
		return e.set.cfg.Lost(why)
	}
	if e.granted == 0 {
		e.granted = clock.Mono()
	}
	if ctx.Err() != nil {
		return place.WaitEnd{Cause: context.Cause(ctx)}
	}
	return nil
}

// usable reports whether e, which came with the lane, is a good entry for what is wanted; check
// looks at its deadline. One that announces was made for this caller, in place of the last holder.
func (e *Entry) usable(want *Want) bool {
	return e.Announces == want.Announces && e.Lease.Suits(want.Seconds) && e.Claim == want.Claim && e.Lease.Waits().Err() == nil && e.retention.Usable()
}

// fits reports whether e, which another caller put, may be held as want says.
func (e *Entry) fits(want *Want) bool { return want.Claim == e.Claim && !want.Announces }

// passable reports whether there may be another hold under e. Others who share
// a lock were let in as they came; an announcement is of one hold.
func (e *Entry) passable() bool {
	return !e.Shared && !e.Announces && !e.Asked.Load() && e.turn < e.set.cfg.Turns && e.Lease.Waits().Err() == nil && e.Lease.Remaining() > 0 && !e.retention.Wanted()
}

// young reports whether the time since e's grant allows that it passes to the next hold here.
func (e *Entry) young() bool {
	return e.granted != 0 && clock.Mono()-e.granted < int64(e.set.cfg.Handoff)
}

// next returns the first in line for e's lane if e's lease is one for it, or nil.
func (e *Entry) next() *Waiter {
	if w := e.set.Lanes.NextAt(e.Key, e.seat); w != nil && e.Lease.Suits(w.Value.Want.Seconds) {
		return w
	}
	return nil
}
