package locker

import (
	"context"
	"time"

	"github.com/phpgao/elock/internal/lane"
	"github.com/phpgao/elock/internal/queue"
	"github.com/phpgao/elock/keyspace"
)

// lanes let one goroutine of this process at a time deal with a key in etcd. An
// entry may pass with a lane, from one goroutine to the next.
type lanes = lane.Table[caller, *entry]

// A waiter is a goroutine that waits for a lane.
type waiter = lane.Waiter[caller, *entry]

// A caller is who wants a lock, and how.
type caller struct {
	who  Owner
	want request
	seat int // in the lane, that it has got; 0: the lane itself
}

// shareTerm is how long callers join those who share a lock after it was seen
// that nobody waits to hold it alone.
const shareTerm = 10 * time.Millisecond

func (l *Locker) newLanes() *lanes {
	return lane.New[caller](lane.Config[*entry]{
		Stop:   l.drain,
		Term:   shareTerm,
		Orphan: func(e *entry) { e.settle(errUnwanted, func() {}) },
	})
}

// enterLane gets the lane of key, or a seat in it, and the entry that comes with it, if any. nth
// is above 0 if others hold under that entry, too, and this is the nth to join them.
func (l *Locker) enterLane(ctx context.Context, key keyspace.Key, as *caller, try bool, blocked func(BlockedData)) (e *entry, nth int, err error) {
	behind := func(ahead caller, n int) {
		blocked(BlockedData{Key: key, By: ahead.who, Local: true, Ahead: n})
	}
	want, wait, ok := as.want.Claim, ctx, false
	if try {
		if !want.Shared || !l.lanes.Shared(key) {
			if want.Slots > 0 {
				e, as.seat, ok = l.lanes.TryEnterSeat(key, *as, want.Slots, want.Weight, behind)
			} else {
				e, nth, ok = l.lanes.TryEnter(key, *as, want.Shared, behind)
			}
			if !ok {
				return nil, 0, ErrLocked
			}
			return e, nth, nil
		}
		// Perhaps it takes a look at etcd to know that it may join.
		soon, cancel := context.WithTimeout(ctx, queue.AskPatience)
		defer cancel()
		wait = soon
	}
	if want.Slots > 0 {
		e, as.seat, ok = l.lanes.EnterSeat(wait, key, *as, want.Slots, want.Weight, behind)
	} else {
		e, nth, ok = l.lanes.Enter(wait, key, *as, want.Shared, behind)
	}
	switch {
	case ok:
		return e, nth, nil
	case ctx.Err() != nil:
		return nil, 0, ctxError(ctx)
	case l.drain.Err() != nil:
		return nil, 0, context.Cause(l.drain)
	}
	return nil, 0, ErrLocked
}
