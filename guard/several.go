package guard

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// Update2 is Update of two values at once. Both locks are held while fn runs,
// and both values are stored in one transaction of etcd, or none: it requires
// that both locks are still held and both values are those that fn was given.
//
// The locks are taken in an order of their own, so calls that name the same
// guards in another order do not block each other for good. locker.HoldSetFrom
// gives fn the holds. Both values must be Stored, with the same Locker, under
// different keys; otherwise the error is ErrNoResource or locker.ErrInvalidOption,
// before anything is sent. The locks are acquired with the options of a, and then
// those of b. The other errors are those of Update.
func Update2[A, B any](ctx context.Context, a *Guard[A], b *Guard[B], fn func(ctx context.Context, a A, b B) (A, B, error)) error {
	ca, cb := &cell[A]{guard: a}, &cell[B]{guard: b}
	return updateAll(ctx, []anyCell{ca, cb}, fn == nil, func(ctx context.Context) (err error) {
		if ca.value, cb.value, err = fn(ctx, ca.value, cb.value); err != nil {
			return funcError{err}
		}
		return nil
	})
}

// UpdateN is Update2 for any number of values of one type, but at least one. fn
// gets them in the order of guards, and returns as many in that order; it may
// change and return the slice that it was given. If it returns another number,
// nothing is stored and the error is locker.ErrInvalidOption. An UpdateN takes 32
// guards at most.
func UpdateN[T any](ctx context.Context, guards []*Guard[T], fn func(ctx context.Context, values []T) ([]T, error)) error {
	cells, all := make([]cell[T], len(guards)), make([]anyCell, len(guards))
	for i, g := range guards {
		cells[i].guard, all[i] = g, &cells[i]
	}
	return updateAll(ctx, all, fn == nil, func(ctx context.Context) error {
		values := make([]T, len(cells))
		for i := range cells {
			values[i] = cells[i].value
		}
		values, err := fn(ctx, values)
		if err != nil {
			return funcError{err}
		}
		if len(values) != len(cells) {
			return invalid(fmt.Sprintf("%d values returned for %d guards", len(values), len(cells)))
		}
		for i := range cells {
			cells[i].value = values[i]
		}
		return nil
	})
}

// A cell is one of several values that are updated together.
type cell[T any] struct {
	guard *Guard[T]
	store stored[T]
	from  *mvccpb.KeyValue
	value T
}

// anyCell is a cell of any type.
type anyCell interface {
	open(ctx context.Context, o *opening) error // adds the cell's part to o
	load(from *mvccpb.KeyValue) error
	change() (change, error)
}

// An opening collects what acquires the locks of all cells, and reads their values.
type opening struct {
	locker *locker.Locker
	keys   []keyspace.Key
	opts   []locker.AcquireOption // of the guards
	loads  []locker.AcquireOption // what reads their values, last of all
}

func (c *cell[T]) open(ctx context.Context, o *opening) (err error) {
	g := c.guard
	if g == nil {
		return named(opUpdate, "", invalid("nil Guard"))
	}
	c.store, err = g.stored(ctx)
	if err == nil && o.locker != nil && o.locker != g.locker {
		err = invalid("guards of different Lockers")
	}
	if err != nil {
		return g.named(opUpdate, err)
	}
	o.locker = g.locker
	o.keys = append(o.keys, g.key)
	o.opts = append(o.opts, g.opts...)
	o.loads = append(o.loads, c.store.loading(false)...)
	return nil
}

func (c *cell[T]) load(from *mvccpb.KeyValue) (err error) {
	c.from = from
	c.value, err = c.store.decode(from)
	return c.guard.named(opUpdate, err)
}

func (c *cell[T]) change() (change, error) {
	next, err := c.store.change(c.from, c.value)
	return next, c.guard.named(opUpdate, err)
}

const opUpdate = "update"

// maxCells is how many values go together: their puts and comparisons, and the
// locks' own, must fit into a transaction of etcd.
const maxCells = 32

// twice reports whether a key is among keys more than once.
func twice(keys []keyspace.Key) bool {
	seen := make(map[keyspace.Key]bool)
	return slices.ContainsFunc(keys, func(k keyspace.Key) bool {
		had := seen[k]
		seen[k] = true
		return had
	})
}

// updateAll acquires the locks of cells, loads these, runs fn, and commits them.
func updateAll(ctx context.Context, cells []anyCell, noFunc bool, fn func(context.Context) error) error {
	var o opening
	for _, c := range cells {
		if err := c.open(ctx, &o); err != nil {
			return err
		}
	}
	names := joined(o.keys)
	switch {
	case len(cells) == 0:
		return named(opUpdate, names, invalid("no guards"))
	case len(cells) > maxCells:
		return named(opUpdate, names, invalid(fmt.Sprintf("%d guards; want at most %d", len(cells), maxCells)))
	case twice(o.keys):
		return named(opUpdate, names, invalid("two guards of one key"))
	case noFunc:
		return named(opUpdate, names, invalid("nil function"))
	}
	h, err := o.locker.AcquireAll(ctx, o.keys, append(o.opts, o.loads...)...)
	if err != nil {
		return err
	}
	stored := false
	err = h.Run(func(inner context.Context, h *locker.HoldSet) error {
		if h.Shared() || h.Slots() > 0 {
			return errSharing
		}
		for i, from := range read(h, len(cells)) {
			if err := cells[i].load(from); err != nil {
				return err
			}
		}
		if err := fn(inner); err != nil {
			return err
		}
		if err := mayStore(ctx, h); err != nil {
			return err
		}
		changes := make([]change, len(cells))
		for i, c := range cells {
			next, err := c.change()
			if err != nil {
				return err
			}
			changes[i] = next
		}
		if err := commit(ctx, h, changes...); err != nil {
			return err
		}
		stored = true
		return nil
	})
	if stored {
		return nil // a lock that is not free yet is freed in the background
	}
	return named(opUpdate, names, err)
}

// joined is how several keys show in an error.
func joined(keys []keyspace.Key) string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.String()
	}
	return strings.Join(names, " ")
}
