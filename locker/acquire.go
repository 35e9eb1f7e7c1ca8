package locker

import (
	"context"

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
// etcd has answered, or while a later read has failed, or had no answer for half a
// second, the error matches that of ctx and ErrUnavailable.
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
	a.grant, err = l.entries.Acquire(a.ctx, key, a.as, try, a.behind)
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
