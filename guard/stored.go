package guard

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// Stored keeps the value in etcd, beside its lock, as the codec writes it.
//
// The value's key is the lock's directory without its last slash: with the
// default prefix, that of "stock/kettle" is /elock/stock:/kettle. The entries
// of all queues lie within such directories, so no queue and no other value
// can meet it. etcdctl reads it; what others write there is a value too, and an
// Update that meets such a write fails with ErrFenced. keyspace.Key.ValuePath
// gives that key: several values that are read in one transaction of etcd are
// what they were at one moment.
func Stored[T any](codec Codec[T]) Option[T] {
	return func(g *Guard[T]) {
		if codec == nil {
			g.fail(invalid("nil Codec"))
			return
		}
		g.keep(stored[T]{g: g, codec: codec})
	}
}

type stored[T any] struct {
	g      *Guard[T]
	codec  Codec[T]
	absent func(T) bool // reports whether an update to that value deletes; nil: none does
}

// name is the value's key in etcd.
func (s stored[T]) name() string { return s.g.key.ValuePath(s.g.locker.Prefix()) }

func (s stored[T]) decode(kv *mvccpb.KeyValue) (value T, err error) {
	if kv == nil {
		return value, nil
	}
	value, err = s.codec.Unmarshal(kv.Value)
	if err != nil {
		var zero T
		return zero, fmt.Errorf("%w: %w", ErrDecode, err)
	}
	return value, nil
}

func (s stored[T]) look(ctx context.Context, opts []GetOption) (T, error) {
	v, err := s.lookVersion(ctx, opts)
	return v.Value, err
}

func (s stored[T]) lookVersion(ctx context.Context, opts []GetOption) (v Version[T], err error) {
	var how getting
	for _, opt := range opts {
		if opt == nil {
			return v, invalid("nil GetOption")
		}
		opt(&how)
	}
	kv, _, err := s.get(ctx, how.opts...)
	if err != nil {
		return v, err
	}
	return s.version(kv)
}

// stored returns the guard's stored value, or why that cannot be used.
func (g *Guard[T]) stored(ctx context.Context) (s stored[T], err error) {
	if err := g.check(ctx); err != nil {
		return s, err
	}
	s, ok := g.resource.(stored[T])
	if !ok {
		return s, fmt.Errorf("%w: the value is bound, not Stored", ErrNoResource)
	}
	return s, nil
}
