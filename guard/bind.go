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

// Bind keeps the value in r, with the lock's token against those who write
// late.
//
// Between Load and Store another holder may load too, if the lock was lost:
// should the first still store before the other does, its value is overwritten
// unseen. A Load that raises the token as well leaves no such gap. In an Update
// or a View, locker.HoldFrom gives the hold whose token that is; in a Get, any
// hold that it gives is the caller's, perhaps of another key.
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

func (b bound[T]) loading() []locker.AcquireOption { return nil }

func (b bound[T]) load(ctx context.Context, _ *locker.Hold) (T, error) { return b.look(ctx, nil) }

func (b bound[T]) store(ctx context.Context, h *locker.Hold, value T) error {
	if err := b.r.Store(ctx, h.Token(), value); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := h.Release(ctx); ended(err) {
		return fmt.Errorf("stored, but %w", bare(err))
	}
	return nil // if the lock is not free yet, that is tried on
}
