package guard

import (
	"context"
	"fmt"

	"github.com/phpgao/elock/locker"
)

// A Resource is where a bound value is kept: a row of a database, an object in
// a store. Its methods may be called from several goroutines.
type Resource[T any] interface {
	// Load returns the value: the zero T where there is none.
	Load(ctx context.Context) (T, error)
	// Store writes the value, unless it has seen a greater token: then it
	// writes nothing and returns an error that matches ErrFenced. Whether the
	// token is the greatest and the write must be one step, such as one
	// statement of SQL.
	Store(ctx context.Context, token locker.Token, value T) error
}

// A Claimer is a Resource that knows of an update before it stores.
//
// Between the Load and the Store of an update whose lock is lost, the next
// holder may load. If the first still stores before the next one does, the token
// cannot stop it, and its value is overwritten unseen. A Claim leaves no such
// gap.
type Claimer[T any] interface {
	Resource[T]
	// Claim is the Load of an update. In one step, it returns the value and has
	// Store refuse all older tokens from now on; if it has seen a greater token,
	// it returns an error that matches ErrFenced.
	Claim(ctx context.Context, token locker.Token) (T, error)
}

// Bind keeps the value in r, which the lock's token protects from those who
// write late. If r is a Claimer, no update is lost to them either.
func Bind[T any](r Resource[T]) Option[T] {
	return func(g *Guard[T]) {
		if r == nil {
			g.fail(invalid("nil Resource"))
			return
		}
		g.keep(bound[T]{r})
	}
}

type bound[T any] struct{ r Resource[T] }

func (b bound[T]) look(ctx context.Context, _ []GetOption) (T, error) {
	value, err := b.r.Load(ctx)
	if err != nil {
		var zero T
		return zero, fmt.Errorf("load: %w", err)
	}
	return value, nil
}

func (b bound[T]) loading(bool) []locker.AcquireOption { return nil }

func (b bound[T]) stale(context.Context, *locker.Hold, error) bool { return false }

func (b bound[T]) load(ctx context.Context, _ *locker.Hold) (T, error) { return b.look(ctx, nil) }

func (b bound[T]) claim(ctx context.Context, h *locker.Hold) (T, error) {
	c, ok := b.r.(Claimer[T])
	if !ok {
		return b.load(ctx, h)
	}
	value, err := c.Claim(ctx, h.Token())
	if err != nil {
		return value, fmt.Errorf("claim: %w", err)
	}
	return value, nil
}

func (b bound[T]) store(ctx context.Context, h *locker.Hold, value T) error {
	if err := b.r.Store(ctx, h.Token(), value); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := h.Release(ctx); ended(err) {
		return fmt.Errorf("stored, but %w", bare(err))
	}
	return nil // a lock that is not free yet is freed in the background
}
