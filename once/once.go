package once

import (
	"context"
	"fmt"
	"time"
	"unicode/utf8"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

const (
	// maxTick keeps the marker small.
	maxTick = 256
	// patience bounds each try of a call to etcd that is made here.
	patience = time.Second
	// spendPatience bounds all tries to write the marker of Skip.
	spendPatience = 5 * time.Second
	// spendPause is the pause between them.
	spendPause = 50 * time.Millisecond
)

// Do runs fn unless the tick was run before, in this process or another. The
// error is nil if the tick is done: ran says whether it was this call that ran it.
//
// Ticks of one key are in order: a tick comes before another if it is less as a
// string, byte by byte. Only the latest one is remembered. If a later tick than
// this one was run, fn is not called, and the error is ErrOldTick. A tick is 1 to
// 256 bytes of UTF-8; At makes one of a time.
//
// Do first reads which tick was run last. If it is this one, it returns, without
// the lock. Otherwise it acquires the lock of key, as locker.Acquire does: while
// another caller runs the tick, Do waits for that one to end, so that it can run
// the tick if the other one dies. NoWait does not wait. When the lock is held and
// the tick still is not run, Do calls fn, as Hold.Run does: with a context that is
// also done when the lock is lost. ctx bounds the wait, and reaches fn.
//
// When fn returns nil, the tick is marked as done in the transaction that releases
// the lock, which requires that the lock is still held. So fn must return an error
// if it stops early. The tick is marked also if ctx is done by then. If the lock
// was lost before that, the tick is not marked, and the error matches the reason:
// locker.ErrLost, locker.ErrMaxHeld or locker.ErrClosed; so it is locker.ErrReleased
// if fn itself has released or committed the hold.
//
// If fn fails, panics or calls runtime.Goexit, or if its process dies, the tick is
// not marked, and the next caller of the tick runs it: one that waits already, or
// one that comes later, as long as no later tick was run. That is Retake. With Skip,
// the tick is marked before fn is called, and nobody runs it again. The error of fn
// comes back as it is, together with the reason if the lock was lost as well.
//
// A lost answer is looked up. Only if etcd stays silent, the error is
// locker.ErrOutcomeUnknown: the tick may be marked, or not. Another Do of the same
// tick then returns nil if it is, and otherwise runs fn (again, if ran is true).
//
// Bad arguments and options are locker.ErrInvalidOption, before anything is sent; a
// zero key matches keyspace.ErrInvalid too. ErrMarker says that the marker is not
// one of this package. Other errors are those of an acquire. ran says, also when
// there is an error, whether fn was called. Do may be called from several goroutines.
func Do(ctx context.Context, l *locker.Locker, key keyspace.Key, tick string, fn func(ctx context.Context, h *locker.Hold) error, opts ...Option) (ran bool, err error) {
	c := call{l: l, key: key, tick: tick}
	if err := c.configure(fn == nil, opts); err != nil {
		return false, c.named(err)
	}
	if done, err := c.early(ctx); done || err != nil {
		return false, c.named(err)
	}
	h, err := c.acquire(ctx)
	if err != nil {
		return false, err
	}
	done := false
	err = h.Run(func(ctx context.Context, h *locker.Hold) (err error) {
		from, err := read(h)
		if err != nil {
			return err
		}
		if done, err = c.over(from); done || err != nil {
			return err
		}
		m := c.marker(ctx, h)
		if ctx.Err() != nil {
			return ctxError(ctx)
		}
		if c.skip {
			if err := c.spend(ctx, h, from, m); err != nil {
				return err
			}
		}
		ran = true
		if err := fn(ctx, h); err != nil {
			return theirs{err}
		}
		if c.skip {
			_ = h.Release(ctx) // Run tells if it was lost; if the lock is not free yet, that is tried on
			return nil
		}
		return c.commit(ctx, h, from, m)
	})
	if done {
		return false, nil // if the lock is not free yet, that is tried on
	}
	return ran, c.named(err)
}

// Forget deletes the marker of key, whatever it is, and does nothing if there is
// none. Then no tick counts as run: Do runs any. It is for a job that is gone for
// good, and to run a tick again.
//
// Forget acquires the lock of key, and so waits for a tick that is being run. ctx
// bounds the wait. The errors are those of an acquire and of Hold.Commit. It may be
// repeated.
func Forget(ctx context.Context, l *locker.Locker, key keyspace.Key) error {
	c := call{l: l, key: key, op: "forget"}
	if err := c.check(); err != nil {
		return c.named(err)
	}
	h, err := c.acquire(ctx)
	if err != nil {
		return err
	}
	gone := false
	err = h.Run(func(ctx context.Context, h *locker.Hold) error {
		from, err := read(h)
		if err != nil {
			return err
		}
		if gone = from == nil; gone {
			return nil
		}
		return c.end(ctx, h, from, clientv3.OpDelete(c.path()))
	})
	if gone {
		return nil
	}
	return c.named(err)
}

// A call is one Do or Forget.
type call struct {
	config
	l    *locker.Locker
	key  keyspace.Key
	tick string
	op   string // for its errors; "": "once"
}

// configure takes the options and checks everything.
func (c *call) configure(noFunc bool, opts []Option) error {
	for _, o := range opts {
		if o == nil {
			return invalid("nil once.Option")
		}
		o(&c.config)
	}
	switch err := c.check(); {
	case err != nil:
		return err
	case c.tick == "":
		return invalid("empty tick (once.At returns that for a period under 1ms, and for a year that has not 4 digits)")
	case len(c.tick) > maxTick:
		return invalid("tick of %d bytes; want at most %d", len(c.tick), maxTick)
	case !utf8.ValidString(c.tick):
		return invalid("tick %q is not UTF-8", c.tick)
	case noFunc:
		return invalid("nil function")
	}
	return nil
}

func (c *call) check() error {
	switch {
	case c.l == nil:
		return invalid("nil Locker")
	case c.key.IsZero():
		return fmt.Errorf("%w: %w: zero Key", locker.ErrInvalidOption, keyspace.ErrInvalid)
	}
	return nil
}

// early reports whether the tick was run, without the lock. If etcd does not answer
// soon, or refuses, it says no: the acquire tries on, or has the same error.
func (c *call) early(ctx context.Context) (done bool, err error) {
	if ctx.Err() != nil || c.l.Context().Err() != nil {
		return false, nil
	}
	look, cancel := c.bounded(ctx)
	defer cancel()
	resp, err := c.l.Client().KV.Get(look, c.path())
	switch {
	case err != nil && ctx.Err() != nil:
		return false, fmt.Errorf("%w: %w", ctxError(ctx), locker.ErrUnavailable)
	case err != nil || len(resp.Kvs) == 0:
		return false, nil
	}
	return c.over(resp.Kvs[0])
}

// bounded returns a context for one call to etcd. It ends with ctx, and has none of
// its values: the outgoing gRPC metadata of a caller is not for etcd.
func (c *call) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	own, cancel := context.WithTimeout(c.l.Context(), patience)
	forget := context.AfterFunc(ctx, cancel)
	return own, func() { forget(); cancel() }
}

// acquire acquires the lock and reads the marker.
func (c *call) acquire(ctx context.Context) (*locker.Hold, error) {
	acquire := c.l.Acquire
	if c.noWait {
		acquire = c.l.TryAcquire
	}
	return acquire(ctx, c.key, append(c.acquiring, locker.ReadKeys(c.path()))...)
}

// read returns the marker, as it is while h is held.
func read(h *locker.Hold) (*mvccpb.KeyValue, error) {
	if h.Shared() || h.Slots() > 0 {
		return nil, invalid("a lock that others hold, too: drop locker.Shared or locker.Slots")
	}
	all := h.Read() // Acquiring may have asked for more
	return all[len(all)-1], nil
}

// over reports whether the tick was run, as the marker says, or why it must not be.
func (c *call) over(kv *mvccpb.KeyValue) (bool, error) {
	if kv == nil {
		return false, nil
	}
	m, err := decode(kv.Value)
	switch {
	case err != nil:
		return false, err
	case m.Tick > c.tick:
		return false, fmt.Errorf("%w: %q; this one is %q", ErrOldTick, m.Tick, c.tick)
	}
	return m.Tick == c.tick, nil
}

// commit marks the tick as done, and releases the lock.
func (c *call) commit(ctx context.Context, h *locker.Hold, from *mvccpb.KeyValue, m marker) error {
	m.Done = timestamp()
	return c.end(ctx, h, from, clientv3.OpPut(c.path(), m.encode()))
}

// end changes the marker, if it is still the one that was read, and releases the lock.
func (c *call) end(ctx context.Context, h *locker.Hold, from *mvccpb.KeyValue, change clientv3.Op) error {
	done, err := h.Commit(ctx, []clientv3.Cmp{c.unchanged(from)}, change)
	if err == nil && !done {
		return errChanged
	}
	return bare(err)
}

// unchanged is that the marker is the one that was read.
func (c *call) unchanged(from *mvccpb.KeyValue) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(c.path()), "=", from.GetModRevision())
}
