package guard

import (
	"context"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/phpgao/elock/locker"
)

// Update waits until the lock is held, calls fn with the value, stores what fn
// returns, and returns that. A value that was never stored is the zero T. fn
// runs as a Func of Run does, and locker.HoldFrom gives it the hold.
//
// A Stored value is read together with the acquire, and committed together with
// the release, in one transaction of etcd that requires that the lock is still
// held and that the value is the one that fn was given. If not, the error is
// ErrFenced and nothing is stored; Update may be called again. Every Update that
// succeeds is a commit, even of an equal value.
//
// With the option Optimistic, Update does without the lock while nobody else wants it.
//
// Under a lock that the Locker retains, see locker.WithRetain, the value that its last
// Update has stored is not read again: the commit is the only transaction. If somebody
// has changed the value meanwhile without the lock, fn runs a second time, with what is
// stored, when the commit or fn itself has failed.
//
// If fn fails, panics, or calls runtime.Goexit, or if ctx is done when it
// returns, nothing is stored. The error of fn comes back as it is, together
// with the reason if the lock was lost meanwhile. A value that does not encode
// is ErrEncode, one that etcd does not take ErrTooLarge, and one whose codec cannot
// keep what T does not hold ErrLossy; if what is stored does not decode, fn is not
// called, and the error is ErrDecode. In all these cases the value in etcd stays
// what it was, and the lock is released.
//
// A lost answer to the commit is looked up. Only if etcd stays unreachable until
// the lease has ended, or until a second after ctx, or if it has compacted its
// history and somebody else has written since, or the commit only deletes, the error
// is locker.ErrOutcomeUnknown: the value may be stored, or not, and never twice.
//
// A bound value is loaded and stored by its Resource, whose errors come back.
// If the lock was lost while Store ran, the error matches the reason, and not
// ErrFenced: the value is stored, but the next holder may have loaded the one before
// it, and overwrite it.
//
// After every error the value returned is the zero T. The other errors are those
// of an acquire. An Update with locker.Shared or locker.Slots in Acquiring stores
// nothing: it fails with locker.ErrInvalidOption.
func (g *Guard[T]) Update(ctx context.Context, fn func(ctx context.Context, cur T) (T, error)) (T, error) {
	next, d, err := g.updateAlone(ctx, fn)
	if err != errTakeLock {
		return next, g.named(opUpdate, err)
	}
	stored := false
	err = g.withLoaded(ctx, loading{op: opUpdate, noFunc: fn == nil, doubt: d}, func(inner context.Context, h *locker.Hold, cur T) (err error) {
		if next, err = fn(inner, cur); err != nil {
			return funcError{err}
		}
		if err := mayStore(ctx, h); err != nil {
			return err
		}
		if err := g.resource.store(ctx, h, next); err != nil {
			return err
		}
		stored = true
		return nil
	})
	if !stored {
		var zero T
		return zero, err
	}
	return next, nil // a lock that is not free yet is freed in the background
}

// updateAlone is Update without the lock, as far as Optimistic allows it, see stored.alone.
func (g *Guard[T]) updateAlone(ctx context.Context, fn func(ctx context.Context, cur T) (T, error)) (next T, d *doubt, err error) {
	var zero T
	if !g.optimistic || fn == nil || g.check(ctx) != nil {
		return zero, nil, errTakeLock
	}
	s := g.resource.(stored[T])
	d, err = s.alone(ctx, func(ctx context.Context, from *mvccpb.KeyValue) (change, error) {
		cur, err := s.decode(from)
		if err != nil {
			return change{}, err
		}
		if next, err = fn(ctx, cur); err != nil {
			return change{}, funcError{err}
		}
		return s.change(from, next)
	})
	if err != nil {
		return zero, d, err
	}
	return next, nil, nil
}

// View waits until the lock is held, shared with other Views, and calls fn with
// the value: nobody updates it before fn returns. It is for values that are
// bound, and for work that must go with the value; to only see a Stored value,
// Get is enough. locker.HoldFrom gives fn the hold. Errors are as in Run and Get.
func (g *Guard[T]) View(ctx context.Context, fn func(ctx context.Context, cur T) error) error {
	return g.withLoaded(ctx, loading{op: "view", shared: true, noFunc: fn == nil}, func(inner context.Context, _ *locker.Hold, cur T) error {
		if err := fn(inner, cur); err != nil {
			return funcError{err}
		}
		return nil
	})
}

// A loading is how an operation loads a value under the lock.
type loading struct {
	op     string
	shared bool
	noFunc bool   // there is no function to call
	doubt  *doubt // about what was tried without the lock; nil if nothing was
}

// withLoaded runs fn with the value under the lock, shared or alone.
func (g *Guard[T]) withLoaded(ctx context.Context, how loading, fn func(ctx context.Context, h *locker.Hold, cur T) error) error {
	err := g.check(ctx)
	if err == nil && how.noFunc {
		err = invalid("nil function")
	}
	switch {
	case err != nil && how.doubt != nil:
		return g.named(how.op, outcomeUnknown(err))
	case err != nil:
		return g.named(how.op, err)
	}
	for known := !how.shared && how.doubt == nil; ; known = false {
		stale, err := g.withLoadedOnce(ctx, how, known, fn)
		if !stale || ctx.Err() != nil {
			return err
		}
	}
}

// withLoadedOnce is withLoaded, perhaps with a value that is known and not read. It reports
// whether that was old.
func (g *Guard[T]) withLoadedOnce(ctx context.Context, how loading, known bool, fn func(ctx context.Context, h *locker.Hold, cur T) error) (stale bool, err error) {
	opts, load := slices.Concat(g.opts, g.resource.loading(known)), g.resource.claim
	if how.shared {
		opts, load = append(opts, locker.Shared()), g.resource.load
	}
	d := how.doubt
	h, err := g.locker.Acquire(ctx, g.key, opts...)
	if err != nil {
		if d != nil {
			err = g.named(how.op, outcomeUnknown(bare(err)))
		}
		return false, err
	}
	err = h.Run(func(ctx context.Context, h *locker.Hold) (err error) {
		if (h.Shared() || h.Slots() > 0) && !how.shared {
			return errSharing
		}
		if d != nil {
			if d, err = g.resource.(stored[T]).settle(ctx, d, read(h, 1)[0]); err != nil {
				return err
			}
		}
		cur, err := load(ctx, h)
		if err == nil {
			err = fn(ctx, h, cur)
		}
		stale = err != nil && known && g.resource.stale(ctx, h, err)
		return err
	})
	if err != nil && d != nil {
		err = outcomeUnknown(bare(err))
	}
	return stale, g.named(how.op, err)
}

// mayStore returns why a value must not be stored under h, if so.
func mayStore(ctx context.Context, h holding) error {
	if err := h.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrFenced, err)
	}
	if ctx.Err() != nil {
		return ctxError(ctx)
	}
	return nil
}
