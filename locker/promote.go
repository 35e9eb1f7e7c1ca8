package locker

import (
	"context"
)

// Promote has the waiter of that owner, as WithOwner names it, be the next to hold, before
// others that came earlier: these queue again at the end, some 50ms later. The hold goes on.
// A Release then passes the lock to that waiter; if it has died or given up, to the next one.
//
// The entries of the others are deleted, if the lock is still held and the waiter is still
// there; they notice that, and queue again. A client of another library would not:
// concurrency.Mutex and concurrency.Election believe that they hold once nobody is ahead of
// them. If one of these is ahead of the waiter, or if nobody of that name waits in etcd, the
// error is ErrNotWaiting, and nothing has changed. A goroutine of this process that waits for
// the lock is not in etcd.
//
// ctx bounds the call. If the hold has ended, the error is the reason. Promote may be repeated.
func (h *Hold) Promote(ctx context.Context, owner string) error {
	return h.call("promote", ctx, func(ctx context.Context) error {
		if h.Shared() || h.Slots() > 0 {
			return invalid("Promote by a hold that is not alone")
		}
		return h.l.inspector.Promote(ctx, h.Key(), &h.entry.Place, owner)
	})
}
