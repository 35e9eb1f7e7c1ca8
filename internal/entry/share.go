package entry

import (
	"context"

	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/lane"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/internal/xctx"
)

// share lets others hold with e, which was granted to the caller.
func (e *Entry) share() {
	e.set.Lanes.Share(e.Key, e, func(s *lane.Sharing[Caller, *Entry]) { e.set.cfg.Spawn(func() { e.renew(s) }) })
}

// renew lets callers share e for another term, as soon as nobody waits to hold it
// alone, for as long as there are any.
func (e *Entry) renew(s *lane.Sharing[Caller, *Entry]) {
	for wait := calls.FirstPause; ; wait = xctx.Pause(e.Lease.Waits(), wait) {
		try, cancel := context.WithTimeout(e.Lease.Waits(), xctx.Patience(0))
		contended := e.Contended(try)
		cancel()
		if e.Lease.Waits().Err() != nil || s.Renew(!contended) {
			return // those who wait get the lane
		}
	}
}

// grantShare grants e, under which others hold, to the nth caller that shares it.
func (e *Entry) grantShare(ctx context.Context, nth int, names []string) (Grant, error) {
	err := e.check(ctx)
	if err == nil {
		var r *record.Read
		if r, err = e.fetch(ctx, names); err == nil {
			return Grant{Entry: e, Turn: e.turn + min(nth, e.set.cfg.Turns), Read: r}, nil
		}
	}
	if e.Lease.Waits().Err() != nil || e.Lease.Lost() != 0 {
		e.set.Lanes.Close(e.Key) // it is no use to others, either
	}
	return Grant{}, err
}
