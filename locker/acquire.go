package locker

import (
	"context"
	"errors"
	"time"

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
// The errors are those of ctx, ErrClosed, ErrDeadlock if ctx descends from a
// hold of key, keyspace.ErrInvalid for the zero key, ErrInvalidTTL,
// ErrInvalidOption, those of etcd, and a *LostError if the lock was lost before
// Acquire could return it. If etcd does not grant a lease within 5
// seconds, the error is ErrUnavailable.
func (l *Locker) Acquire(ctx context.Context, key keyspace.Key, opts ...AcquireOption) (*Hold, error) {
	h, err := l.acquire(ctx, key, false, opts)
	if err != nil {
		return nil, &Error{Op: "acquire", Key: key.String(), Err: err}
	}
	return h, nil
}

// TryAcquire is Acquire without the wait: it fails with ErrLocked if anybody
// holds key or waits for it, here or elsewhere, or if this Locker has yet to
// free it. Then it has written no key, unless the holder is a Locker that may
// only retain the lock: that is asked by queueing, and then nothing is left. A
// shared TryAcquire joins others that share the lock, and queues to see whether it
// may; if it has to ask etcd, that takes a quarter of a second at most.
func (l *Locker) TryAcquire(ctx context.Context, key keyspace.Key, opts ...AcquireOption) (*Hold, error) {
	h, err := l.acquire(ctx, key, true, opts)
	if err != nil {
		return nil, &Error{Op: "try", Key: key.String(), Err: err}
	}
	return h, nil
}

// RunInLock acquires key, sleeps as WithRandomSleep says, and runs fn as
// Hold.Run does.
func (l *Locker) RunInLock(ctx context.Context, key keyspace.Key, fn func(ctx context.Context, h *Hold) error, opts ...AcquireOption) error {
	if fn == nil {
		return &Error{Op: "run", Key: key.String(), Err: invalid("nil function")}
	}
	h, err := l.Acquire(ctx, key, opts...)
	if err != nil {
		return err
	}
	return h.Run(func(ctx context.Context, h *Hold) error {
		if err := l.sleep(ctx, h); err != nil {
			return err
		}
		return fn(ctx, h)
	})
}

func (l *Locker) acquire(ctx context.Context, key keyspace.Key, try bool, opts []AcquireOption) (*Hold, error) {
	r, err := l.admit(ctx, key, try, opts)
	if err != nil {
		return nil, err
	}
	a := l.ask(ctx, key, try, r)
	t := a.trail
	c, err := l.enqueue(a.ctx, key, a.who, try, r, func(d BlockedData) { l.hooks.blocked(t, d) })
	a.answered(c, err)
	if err != nil {
		return nil, err
	}
	return l.begin(a.ctx, c, r, a.waited)
}

// An asking is one acquire as hooks and others see it.
type asking struct {
	l      *Locker
	key    keyspace.Key
	who    Owner
	trail  trail           // what the hooks' AcquireStart returned
	ctx    context.Context // with what they added
	waited time.Duration   // until the answer
}

func (l *Locker) ask(ctx context.Context, key keyspace.Key, try bool, r request) asking {
	began := time.Now()
	t, notes := l.hooks.acquireStart(ctx, AcquireStartData{Key: key, Try: try, TTL: r.ttl, Shared: r.shared})
	return asking{
		l: l, key: key, trail: t, ctx: t.last(ctx),
		who: Owner{Name: l.owner, Since: began, Annotations: notes},
	}
}

// answered tells the hooks that c was granted, or why not.
func (a *asking) answered(c *claim, err error) {
	a.waited = time.Since(a.who.Since)
	end := AcquireEndData{Key: a.key, Waited: a.waited, Err: err}
	if err == nil {
		end.Token = c.token()
	}
	a.l.hooks.acquireEnd(a.trail, end)
}

// admit checks everything that can be checked before anything is sent.
func (l *Locker) admit(ctx context.Context, key keyspace.Key, try bool, opts []AcquireOption) (request, error) {
	if err := l.check(); err != nil {
		return request{}, err
	}
	if key.IsZero() {
		return request{}, errZeroKey
	}
	r, err := l.request(opts)
	switch {
	case err != nil:
		return r, err
	case ctx.Err() != nil:
		return r, ctxError(ctx)
	case l.drain.Err() != nil:
		return r, ErrClosed
	case !try && l.heldBy(ctx, key):
		return r, ErrDeadlock
	}
	return r, nil
}

// enqueue gets the lane of key and then the lock.
func (l *Locker) enqueue(ctx context.Context, key keyspace.Key, who Owner, try bool, want request, blocked func(BlockedData)) (*claim, error) {
	behind := func(by Owner, ahead int) {
		blocked(BlockedData{Key: key, By: by, Local: true, Ahead: ahead})
	}
	var c *claim // what came with the lane
	var err error
	switch {
	case try && want.shared && l.lanes.shared(key): // perhaps it takes a look at etcd
		soon, cancel := context.WithTimeoutCause(ctx, askPatience, ErrLocked)
		c, err = l.lanes.enter(soon, l.drain, key, who, want, behind)
		cancel()
		if err != nil && ctx.Err() == nil && l.drain.Err() == nil {
			err = ErrLocked
		}
	case try:
		c, err = l.lanes.tryEnter(key, who, want, behind)
	default:
		c, err = l.lanes.enter(ctx, l.drain, key, who, want, behind)
	}
	if err != nil {
		return nil, err
	}
	if c != nil && c.sharing == nil && !c.usable(want) {
		under, cancel := either(ctx, c.lease.waits)
		_, err := c.remove(under)
		cancel()
		if err != nil && c.lease.ctx.Err() == nil {
			err = l.ending(ctx, err)
			abandon(err, c)
			return nil, err
		}
		c.drop()
		c = nil
	}
	for {
		if c == nil {
			s, err := l.use(ctx, want.seconds)
			if err != nil {
				l.lanes.leave(key)
				return nil, err
			}
			c = l.newClaim(key, s, who, want)
		}
		err = c.obtain(ctx, try, blocked)
		if err == nil {
			err = c.fetch(ctx, want.reads)
		}
		if err == nil {
			if want.shared && c.sharing == nil {
				l.lanes.share(c)
			}
			return c, nil
		}
		again := ctx.Err() == nil && l.drain.Err() == nil && (c.lease.ctx.Err() != nil || errors.Is(err, errDisplaced))
		alone := c.sole()
		switch {
		case again && !alone:
			return l.enqueue(ctx, key, who, try, want, blocked)
		case again:
			// The place in the queue is gone: go to its end.
			l.log.Info("elock: lost the place in the queue, queueing again", "key", key.String(), "owner", l.owner, "err", err)
			c.drop()
			c = nil
			pause(ctx, retryPause) // whoever deletes entries may do so again
			continue
		}
		err = l.ending(ctx, err)
		c.read = nil
		// Else the next goroutine may have it.
		if alone && !(c.sent && c.first() && c.pass(func() {})) {
			abandon(err, c)
		}
		return nil, err
	}
}

// ending returns why an acquire under ctx ends with err.
func (l *Locker) ending(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctxError(ctx)
	case l.drain.Err() != nil:
		return ErrClosed
	}
	return err
}

// abandon removes claims, whose locks are not wanted for the reason of err, and
// waits a moment for that.
func abandon(err error, claims ...*claim) {
	if len(claims) == 0 {
		return
	}
	settled := make(chan struct{}, len(claims))
	for _, c := range claims {
		if c.sent {
			c.settle(err, func() { settled <- struct{}{} })
		} else {
			c.done()
			settled <- struct{}{}
		}
	}
	wait := time.NewTimer(grace / 2)
	defer wait.Stop()
	for range claims {
		select {
		case <-settled:
		case <-wait.C:
			return
		}
	}
}

// begin makes a hold of a claim that is first in the queue.
func (l *Locker) begin(ctx context.Context, c *claim, r request, waited time.Duration) (*Hold, error) {
	h := newHold(l.hooks, ctx, c, r.maxHeld, waited)
	if err := l.add(h); err != nil {
		h.end(err)
		h.ended()
		c.settle(err, func() {})
		return nil, err
	}
	if r.tenant {
		l.tenants.enter(h)
	}
	if l.onSuccess != nil {
		returned := false
		defer func() {
			if !returned {
				_ = h.Release(ctx) // the panic says more
				l.tenants.remove(h)
			}
		}()
		l.onSuccess(h.Key().String())
		returned = true
	}
	return h, nil
}
