package locker

import (
	"context"
	"errors"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/place"
	"github.com/phpgao/elock/internal/xctx"
	"github.com/phpgao/elock/keyspace"
)

// Acquire waits until key is locked for the caller, in the order of arrival:
// callers in one process queue there, and processes queue in etcd. ctx bounds
// the wait and nothing else; the hold does not end with it.
//
// When Acquire fails, the lock and its queue are as if it had not been called.
// If etcd cannot be reached, they become so in the background, and other
// acquires of the same key by this Locker wait for that.
//
// If ctx ends while others are ahead, the error matches that of ctx and
// ErrLocked, and Error.Blocker tells the owner directly ahead. If ctx ends before
// etcd has answered, the error matches that of ctx and ErrUnavailable.
//
// If etcd is silent and ctx goes on, the error is ErrUnavailable alone. If Acquire
// needs a new lease, that is after 5 to 10 seconds. If the Locker has a lease already,
// Acquire first tries until that is lost: up to its TTL longer. Callers of the process
// that wait for the same key fail one after the other.
//
// Other errors are ErrClosed, ErrDeadlock if ctx descends from a hold of key,
// keyspace.ErrInvalid for the zero key, ErrInvalidTTL, ErrInvalidOption, those of
// etcd, and a *LostError if the lock was lost before Acquire could return it.
func (l *Locker) Acquire(ctx context.Context, key keyspace.Key, opts ...AcquireOption) (*Hold, error) {
	return l.acquireAs("acquire", ctx, key, false, opts)
}

// TryAcquire is Acquire without the wait: it fails with ErrLocked if anybody
// holds key or waits for it, here or elsewhere, or if this Locker has yet to
// free it. It waits for etcd's answer as long as Acquire does: give ctx a deadline.
// After ErrLocked it has written no key, unless the holder is a Locker that may
// only retain the lock: that is asked by queueing, and then nothing is left. A
// shared TryAcquire joins others that share the lock, and queues to see whether it
// may; if it has to ask etcd, that takes a quarter of a second at most. One for
// Slots succeeds if those who hold and wait leave enough of them.
func (l *Locker) TryAcquire(ctx context.Context, key keyspace.Key, opts ...AcquireOption) (*Hold, error) {
	return l.acquireAs("try", ctx, key, true, opts)
}

// RunInLock acquires key and runs fn as Hold.Run does.
func (l *Locker) RunInLock(ctx context.Context, key keyspace.Key, fn func(ctx context.Context, h *Hold) error, opts ...AcquireOption) error {
	if fn == nil {
		return &Error{Op: "run", Key: key.String(), Err: invalid("nil function")}
	}
	h, err := l.Acquire(ctx, key, opts...)
	if err != nil {
		return err
	}
	return h.Run(fn)
}

// acquireAs is acquire for an operation of that name.
func (l *Locker) acquireAs(op string, ctx context.Context, key keyspace.Key, try bool, opts []AcquireOption) (*Hold, error) {
	h, by, err := l.acquire(ctx, key, try, opts)
	if err != nil {
		return nil, &Error{Op: op, Key: key.String(), Err: err, Blocker: by}
	}
	return h, nil
}

func (l *Locker) acquire(ctx context.Context, key keyspace.Key, try bool, opts []AcquireOption) (h *Hold, by *Owner, err error) {
	r, err := l.admit(ctx, key, try, opts)
	if err != nil {
		return nil, nil, err
	}
	a := attempt{l: l, key: key}
	defer a.end()
	a.start(ctx, try, r)
	a.grant, err = l.enqueue(a.ctx, key, caller{who: a.who, want: r}, try, func(d BlockedData) {
		a.blocker, a.blocked = d.By, true
		l.hooks.blocked(a.contexts, d)
	})
	if err != nil {
		by, err = a.failure(err)
	}
	a.answered(err)
	if err != nil {
		return nil, by, err
	}
	h, err = a.begin(r)
	return h, nil, err
}

// admit checks everything that can be checked before anything is sent.
func (l *Locker) admit(ctx context.Context, key keyspace.Key, try bool, opts []AcquireOption) (request, error) {
	if err := l.checkKey(key); err != nil {
		return request{}, err
	}
	r, err := l.request(opts)
	switch {
	case err != nil:
		return r, err
	case ctx.Err() != nil:
		return r, ctxError(ctx)
	case l.drain.Err() != nil:
		return r, ErrClosed
	case !try && (l.heldBy(ctx, key) || l.updates.Under(ctx, key)):
		return r, ErrDeadlock
	}
	return r, nil
}

// enqueue gets the lane of key and then the lock. If others of this process share the
// lock under an entry, the caller becomes one of them, as the nth, instead.
func (l *Locker) enqueue(ctx context.Context, key keyspace.Key, as caller, try bool, blocked func(BlockedData)) (grant, error) {
	for {
		e, nth, err := l.enterLane(ctx, key, &as, try, blocked)
		if err != nil {
			return grant{}, err
		}
		if nth == 0 {
			return l.occupy(ctx, key, e, as, try, blocked)
		}
		g, err := e.grantShare(ctx, nth, as.want.reads)
		if err == nil {
			return g, nil
		}
		again, alone := l.mayRequeue(ctx, e, err), e.sole()
		switch {
		case again && alone:
			e.requeuing(ctx, err)
			return l.occupy(ctx, key, nil, as, try, blocked)
		case !again && alone:
			err = l.acquireError(ctx, err)
			abandon(err, e)
			return grant{}, err
		case !again:
			return grant{}, l.acquireError(ctx, err)
		}
	}
}

// occupy gets the lock of key, whose lane the caller has, or its seat there, with e in it
// unless that is nil.
func (l *Locker) occupy(ctx context.Context, key keyspace.Key, e *entry, as caller, try bool, blocked func(BlockedData)) (grant, error) {
	if e != nil {
		e.seat = as.seat
	}
	if e != nil && !e.usable(as.want) {
		if err := e.discard(ctx); err != nil {
			return grant{}, err
		}
		e = nil
	}
	for {
		if e == nil && ctx.Err() != nil {
			// The lane came as the caller gave up: nothing is sent.
			l.lanes.LeaveSeat(key, as.seat)
			return grant{}, l.acquireError(ctx, place.WaitEnd{Cause: ctxError(ctx)})
		}
		if e == nil {
			s, err := l.use(ctx, as.want.seconds)
			if err != nil {
				l.lanes.LeaveSeat(key, as.seat)
				return grant{}, err
			}
			e = l.newEntry(key, s, as)
		}
		g := grant{entry: e}
		err := e.obtainOrAbandon(ctx, try, blocked)
		if err == nil {
			g.token = e.token()
			g.read, err = e.reading(ctx, as.want)
		}
		switch {
		case err == nil && as.want.Shared:
			e.share()
			return g, nil
		case err == nil:
			return g, nil
		case l.mayRequeue(ctx, e, err):
			e.requeuing(ctx, err)
			e = nil
			continue
		}
		err = l.acquireError(ctx, err)
		e.Read = nil
		// If we own the lock, it passes to the next waiter here; else the entry is removed.
		if !(e.Sent && e.First() && e.pass(func() {})) {
			abandon(err, e)
		}
		return grant{}, err
	}
}

// discard removes e, which came with the lane and is of no use to the caller. If that
// fails, the caller does not have the lane any more.
func (e *entry) discard(ctx context.Context) error {
	under, cancel := xctx.Merge(ctx, e.Lease.Waits())
	defer cancel()
	w := e.l.etcd.Trying(under)
	defer w.Stop()
	if _, err := e.Leave(w); err != nil && e.Lease.Context().Err() == nil {
		err = e.l.acquireError(ctx, err)
		abandon(err, e)
		return err
	}
	e.drop()
	return nil
}

// mayRequeue reports whether an acquire goes on after err: e has lost its place in
// the queue, and nothing else is wrong.
func (l *Locker) mayRequeue(ctx context.Context, e *entry, err error) bool {
	return ctx.Err() == nil && l.drain.Err() == nil && (e.Lease.Context().Err() != nil || e.Lease.Lost() != 0 || errors.Is(err, place.ErrDisplaced))
}

// requeuing drops e, which has lost its place in the queue, before the caller goes to
// the end of it.
func (e *entry) requeuing(ctx context.Context, err error) {
	e.l.log.Info("elock: lost the place in the queue, queueing again", "key", e.Key.String(), "owner", e.l.owner, "err", err)
	e.drop()
	xctx.Pause(ctx, calls.FirstPause) // whoever deletes entries may do so again
}

// acquireError returns why an acquire under ctx ends with err.
func (l *Locker) acquireError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		if _, waited := errors.AsType[place.WaitEnd](err); waited || batch.NotApplied(err) || err == ErrLocked {
			return ctxError(ctx)
		}
		return silent(ctxError(ctx))
	case l.drain.Err() != nil:
		return ErrClosed
	}
	return err
}
