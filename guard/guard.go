package guard

import (
	"context"
	"fmt"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// A Guard binds a resource of type T to the lock that protects it. It has no
// state of its own: guards are cheap to make, and several for one key share
// the lock. Its methods may be called from several goroutines.
type Guard[T any] struct {
	locker   *locker.Locker
	key      keyspace.Key
	opts     []locker.AcquireOption
	resource resource[T] // where the value is kept; nil: not by the guard
	err      error       // what is wrong with it: every call returns it

	optimistic bool // as Optimistic says
}

// A resource is where a guarded value is kept.
type resource[T any] interface {
	// look reads the value without the lock.
	look(ctx context.Context, opts []GetOption) (T, error)
	// loading is what an acquire must do for a load. With known it may be of a value
	// that somebody has changed since without the lock: then stale tells.
	loading(known bool) []locker.AcquireOption
	// load reads the value under h.
	load(ctx context.Context, h *locker.Hold) (T, error)
	// claim is load before a store.
	claim(ctx context.Context, h *locker.Hold) (T, error)
	// store writes the value under h, and may end h.
	store(ctx context.Context, h *locker.Hold, value T) error
	// stale reports whether the value that was loaded under h is not what it is now, after
	// a function or a store that failed with err.
	stale(ctx context.Context, h *locker.Hold, err error) bool
}

// A Func is what runs while the lock is held. ctx has the caller's values and
// cancellation, and is also done, with the cause, when the lock is lost or held
// too long: then a Func should stop. h gives the fencing token.
type Func[T any] func(ctx context.Context, h *locker.Hold) (T, error)

// An Option configures a Guard.
type Option[T any] func(*Guard[T])

// Acquiring makes the guard take its lock with opts, such as locker.TTL.
func Acquiring[T any](opts ...locker.AcquireOption) Option[T] {
	return func(g *Guard[T]) { g.opts = append(g.opts, opts...) }
}

// New returns a guard of the lock key, taken with l. If an argument is bad,
// every call on the guard returns an error that matches
// locker.ErrInvalidOption or keyspace.ErrInvalid.
func New[T any](l *locker.Locker, key keyspace.Key, opts ...Option[T]) *Guard[T] {
	g := &Guard[T]{locker: l, key: key}
	if l == nil {
		g.fail(invalid("nil Locker"))
	}
	if key.IsZero() {
		g.fail(fmt.Errorf("%w: zero Key", keyspace.ErrInvalid))
	}
	for _, o := range opts {
		if o == nil {
			g.fail(invalid("nil guard.Option"))
			continue
		}
		o(g)
	}
	if _, ok := g.resource.(stored[T]); g.optimistic && !ok {
		g.fail(invalid("Optimistic without a Stored or Optional value"))
	}
	return g
}

func (g *Guard[T]) fail(err error) {
	if g.err == nil {
		g.err = err
	}
}

func (g *Guard[T]) keep(r resource[T]) {
	if g.resource != nil {
		g.fail(invalid("more than one resource"))
	}
	g.resource = r
}

// check returns why the guard's resource cannot be used, if so.
func (g *Guard[T]) check(ctx context.Context) error {
	switch {
	case g.err != nil:
		return g.err
	case g.resource == nil:
		return fmt.Errorf("%w: the guard was made without Stored or Bind", ErrNoResource)
	case g.locker.Context().Err() != nil:
		return context.Cause(g.locker.Context())
	case ctx.Err() != nil:
		return ctxError(ctx)
	}
	return nil
}

// named returns err as that of an operation on the guard.
func (g *Guard[T]) named(op string, err error) error { return named(op, g.key.String(), err) }

// Key returns the lock's key.
func (g *Guard[T]) Key() keyspace.Key { return g.key }

// Run waits until the lock is held, as locker.Acquire does, runs fn, and
// returns what fn returned. ctx bounds the wait, and reaches fn.
//
// The lock is released when fn returns, panics (the panic goes on) or calls
// runtime.Goexit, also when ctx is done by then. If the lock was lost while fn
// ran, the error matches locker.ErrLost and, if there was one, the error of fn;
// likewise locker.ErrMaxHeld and locker.ErrClosed. The value is that of fn in
// every case.
func (g *Guard[T]) Run(ctx context.Context, fn Func[T]) (T, error) {
	return g.run(ctx, fn, (*locker.Locker).Acquire)
}

// TryRun is Run without the wait: it fails with locker.ErrLocked, without
// calling fn, if the lock is held or waited for.
func (g *Guard[T]) TryRun(ctx context.Context, fn Func[T]) (T, error) {
	return g.run(ctx, fn, (*locker.Locker).TryAcquire)
}

type acquire func(*locker.Locker, context.Context, keyspace.Key, ...locker.AcquireOption) (*locker.Hold, error)

func (g *Guard[T]) run(ctx context.Context, fn Func[T], acquire acquire) (value T, err error) {
	err = g.err
	if err == nil && fn == nil {
		err = invalid("nil function")
	}
	if err != nil {
		return value, g.named("run", err)
	}
	h, err := acquire(g.locker, ctx, g.key, g.opts...)
	if err != nil {
		return value, err
	}
	err = h.Run(func(ctx context.Context, h *locker.Hold) (err error) {
		value, err = fn(ctx, h)
		return err
	})
	return value, err
}
