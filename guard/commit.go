package guard

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/locker"
)

// A change is one stored value on its way to the next.
type change struct {
	name string // the value's key in etcd
	from int64  // the revision that was read; 0: there was none
	data []byte
}

// errChanged says that a value is not the one that was read.
var errChanged = errors.New("the value was changed without the lock")

// commit ends h, and carries out all changes or none: only if h still holds all
// its locks, and every value is the one that was read.
func commit(ctx context.Context, h *locker.Hold, changes ...change) error {
	cmps := make([]clientv3.Cmp, len(changes))
	puts := make([]clientv3.Op, len(changes))
	for i, c := range changes {
		cmps[i] = clientv3.Compare(clientv3.ModRevision(c.name), "=", c.from)
		puts[i] = clientv3.OpPut(c.name, string(c.data))
	}
	done, err := h.Commit(ctx, cmps, puts...)
	err = bare(err)
	switch {
	case err == nil && !done:
		return fmt.Errorf("%w: %w", ErrFenced, errChanged)
	case errors.Is(err, locker.ErrOutcomeUnknown):
		return err
	case tooLarge(err):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case ended(err):
		return fmt.Errorf("%w: %w", ErrFenced, err)
	}
	return err
}

// read returns what the acquire of h has read for the last n names.
func read(h *locker.Hold, n int) []*mvccpb.KeyValue {
	all := h.Read() // Acquiring may have asked for more
	return all[len(all)-n:]
}

func (s stored[T]) loading() []locker.AcquireOption {
	return []locker.AcquireOption{locker.Reading(s.name())}
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
	data, err := s.codec.Marshal(value)
	if err != nil {
		return change{}, fmt.Errorf("%w: %w", ErrEncode, err)
	}
	return change{s.name(), from.GetModRevision(), data}, nil
}
