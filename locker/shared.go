package locker

import (
	"context"

	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/lane"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/internal/xctx"
)

// Shared makes an acquire share the lock with others that do: they hold it
// together, and those without it hold it alone. Both have their turn in the
// order of arrival, so neither kind can keep out the other: a reader queues behind
// a waiting writer, after at most 10ms in which its process may not have seen the
// writer.
//
// Callers of one process that share at the same time have one entry in etcd,
// with the TTL of the first of them. Each has a Hold of its own and a token of
// its own. The token is greater than those of all who held alone before, and
// less than those of all who will; among holds that share at the same time it
// says nothing. A Fence holds for as long as nobody can hold alone, even after
// the release of its own hold if others of the process still share. Commit is not
// for shared holds.
func Shared() AcquireOption {
	return func(r *request) { r.Shared = true }
}

// share lets others hold with e, which was granted to the caller.
func (e *entry) share() {
	e.l.lanes.Share(e.Key, e, func(s *sharing) { e.l.spawn(func() { e.renew(s) }) })
}

type sharing = lane.Sharing[caller, *entry]

// renew lets callers share e for another term, as soon as nobody waits to hold it
// alone, for as long as there are any.
func (e *entry) renew(s *sharing) {
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
func (e *entry) grantShare(ctx context.Context, nth int, names []string) (grant, error) {
	err := e.check(ctx)
	if err == nil {
		var r *record.Read
		if r, err = e.fetch(ctx, names); err == nil {
			return grant{entry: e, token: e.token() + min(Token(nth), maxGrants), read: r}, nil
		}
	}
	if e.Lease.Waits().Err() != nil || e.Lease.Lost() != 0 {
		e.l.lanes.Close(e.Key) // it is no use to others, either
	}
	return grant{}, err
}
