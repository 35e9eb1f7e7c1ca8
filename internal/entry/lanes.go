package entry

import (
	"context"

	"github.com/phpgao/elock/internal/queue"
	"github.com/phpgao/elock/internal/xctx"
	"github.com/phpgao/elock/keyspace"
)

// enterLane gets the lane of key, or a seat in it, and the entry that comes with it, if any. nth
// is above 0 if others hold under that entry, too, and this is the nth to join them.
func (s *Set) enterLane(ctx context.Context, key keyspace.Key, as *Caller, try bool, blocked func(Ahead)) (e *Entry, nth int, err error) {
	behind := func(ahead Caller, n int) { blocked(Ahead{Local: true, By: ahead, N: n}) }
	want, wait, ok := &as.Want, ctx, false
	if try {
		if !want.Shared || !s.Lanes.Shared(key) {
			if want.Slots > 0 {
				e, as.seat, ok = s.Lanes.TryEnterSeat(key, *as, want.Slots, want.Weight, behind)
			} else {
				e, nth, ok = s.Lanes.TryEnter(key, *as, want.Shared, behind)
			}
			if !ok {
				return nil, 0, s.cfg.Locked
			}
			return e, nth, nil
		}
		// Perhaps it takes a look at etcd to know that it may join.
		soon, cancel := context.WithTimeout(ctx, queue.AskPatience)
		defer cancel()
		wait = soon
	}
	if want.Slots > 0 {
		e, as.seat, ok = s.Lanes.EnterSeat(wait, key, *as, want.Slots, want.Weight, behind)
	} else {
		e, nth, ok = s.Lanes.Enter(wait, key, *as, want.Shared, behind)
	}
	switch {
	case ok:
		return e, nth, nil
	case ctx.Err() != nil:
		return nil, 0, xctx.Err(ctx, s.cfg.Silent)
	case s.cfg.Drain.Err() != nil:
		return nil, 0, context.Cause(s.cfg.Drain)
	}
	return nil, 0, s.cfg.Locked
}
