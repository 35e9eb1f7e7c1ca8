package guard

import (
	"context"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/phpgao/elock/locker"
)

// Delete waits until the lock is held, deletes the stored value, and releases the
// lock. To delete what is not stored is no error. Afterwards Get gives the zero T,
// and GetVersion and Watch a Version that is not Stored.
//
// The deletion is a commit as that of Update, in one transaction of etcd that
// requires that the lock is still held, and that the value is the one that was read
// as the lock was acquired. If not, the error is ErrFenced and the value stays; so it
// does if ctx is done meanwhile. A value that does not decode is deleted too. To
// look at the value first, use an Optional one, whose Update can delete it.
//
// With the option Optimistic, Delete does without the lock while nobody else wants it.
//
// ctx bounds the wait. A lost answer is looked up, as by Update: only with
// locker.ErrOutcomeUnknown, the value may be deleted, or not. A deletion leaves less
// to look up than a stored value does: the error is that one too if etcd has
// compacted its history since. The other errors are
// those of an acquire. A bound value cannot be deleted: the error is ErrNoResource,
// before anything is sent. With locker.Shared or locker.Slots in Acquiring, nothing is
// deleted: the error is locker.ErrInvalidOption.
func (g *Guard[T]) Delete(ctx context.Context) error {
	const op = "delete"
	s, err := g.stored(ctx)
	if err != nil {
		return g.named(op, err)
	}
	d, err := s.alone(ctx, func(_ context.Context, from *mvccpb.KeyValue) (change, error) {
		return change{name: s.name(), from: from.GetModRevision(), deletes: true}, nil
	})
	if err != errTakeLock {
		return g.named(op, err)
	}
	h, err := g.locker.Acquire(ctx, g.key, slices.Concat(g.opts, s.loading(false))...)
	if err != nil {
		if d != nil {
			err = g.named(op, outcomeUnknown(bare(err)))
		}
		return err
	}
	deleted := false
	err = h.Run(func(_ context.Context, h *locker.Hold) (err error) {
		from := read(h, 1)[0]
		switch {
		case h.Shared() || h.Slots() > 0:
			return errSharing
		case from == nil:
			deleted = true
			return nil
		}
		if d != nil {
			if d, err = s.settle(h.Context(), d, from); err != nil {
				return err
			}
		}
		if err := mayStore(ctx, h); err != nil {
			return err
		}
		if err := commit(ctx, h, change{name: s.name(), from: from.ModRevision, deletes: true}); err != nil {
			return err
		}
		deleted = true
		return nil
	})
	switch {
	case deleted:
		return nil // a lock that is not free yet is freed in the background
	case d != nil:
		err = outcomeUnknown(bare(err))
	}
	return g.named(op, err)
}
