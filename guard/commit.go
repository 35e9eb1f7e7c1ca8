package guard

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcderr"
	"github.com/phpgao/elock/internal/watchstream"
	"github.com/phpgao/elock/locker"
)

// A change is what a commit does to one stored value.
type change struct {
	name    string // the value's key in etcd
	from    int64  // the revision that was read; 0: there was none
	deletes bool
	data    []byte // the next value, unless it deletes
}

func (c change) op() clientv3.Op {
	if c.deletes {
		return clientv3.OpDelete(c.name)
	}
	return clientv3.OpPut(c.name, string(c.data))
}

// errChanged says that a value is not the one that was read.
var errChanged = errors.New("the value was changed without the lock")

// A holding is a *locker.Hold or a *locker.HoldSet.
type holding interface {
	Err() error
	Read() []*mvccpb.KeyValue
	Commit(ctx context.Context, cmps []clientv3.Cmp, ops ...clientv3.Op) (bool, error)
}

// none reports whether nothing is stored, before the change and after it.
func (c change) none() bool { return c.deletes && c.from == 0 }

// commit ends h, and carries out all changes or none: only if h still holds all
// its locks, and every value is the one that was read. Without a change it leaves h
// to its release: the lost answer to a commit that writes nothing could not be looked
// up.
func commit(ctx context.Context, h holding, changes ...change) error {
	if !slices.ContainsFunc(changes, func(c change) bool { return !c.none() }) {
		return nil
	}
	cmps := make([]clientv3.Cmp, len(changes))
	ops := make([]clientv3.Op, len(changes))
	for i, c := range changes {
		cmps[i] = clientv3.Compare(clientv3.ModRevision(c.name), "=", c.from)
		ops[i] = c.op()
	}
	done, err := h.Commit(watchstream.Own(ctx), cmps, ops...)
	err = bare(err)
	switch {
	case err == nil && !done:
		return fmt.Errorf("%w: %w", ErrFenced, errChanged)
	case errors.Is(err, locker.ErrOutcomeUnknown):
		return err
	case etcderr.TooLarge(err):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case ended(err):
		return fmt.Errorf("%w: %w", ErrFenced, err)
	}
	return err
}

// read returns what the acquire of h has read for the last n names.
func read(h holding, n int) []*mvccpb.KeyValue {
	all := h.Read() // Acquiring may have asked for more
	return all[len(all)-n:]
}

func (s stored[T]) loading(known bool) []locker.AcquireOption {
	if known {
		return []locker.AcquireOption{locker.ReadKnown(s.name())}
	}
	return []locker.AcquireOption{locker.ReadKeys(s.name())}
}

// stale asks only about a value that was not read but known, see locker.ReadKnown.
func (s stored[T]) stale(ctx context.Context, h *locker.Hold, err error) bool {
	from := read(h, 1)[0]
	switch {
	case from == nil || from.Version != 0:
		return false
	case errors.Is(err, errChanged):
		return true
	case h.Err() != nil || ctx.Err() != nil: // the function may have committed, too
		return false
	}
	now, rev, _ := s.current(ctx)
	return rev != 0 && now.GetModRevision() != from.ModRevision
}

func (s stored[T]) load(_ context.Context, h *locker.Hold) (T, error) {
	return s.decode(read(h, 1)[0])
}

func (s stored[T]) claim(ctx context.Context, h *locker.Hold) (T, error) { return s.load(ctx, h) }

func (s stored[T]) store(ctx context.Context, h *locker.Hold, value T) error {
	c, err := s.change(read(h, 1)[0], value)
	if err != nil {
		return err
	}
	return commit(ctx, h, c)
}

// change returns the change of what was read to value.
func (s stored[T]) change(from *mvccpb.KeyValue, value T) (change, error) {
	c := change{name: s.name(), from: from.GetModRevision()}
	if s.absent != nil && s.absent(value) {
		c.deletes = true
		return c, nil
	}
	var err error
	if from == nil {
		c.data, err = s.codec.Marshal(value)
	} else {
		c.data, err = merge(s.codec, from.Value, value)
	}
	switch {
	case errors.Is(err, ErrLossy):
		return change{}, err
	case err != nil:
		return change{}, fmt.Errorf("%w: %w", ErrEncode, err)
	}
	return c, nil
}
