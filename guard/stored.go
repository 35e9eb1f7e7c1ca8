package guard

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/locker"
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
		g.keep(stored[T]{g, codec})
	}
}

// patience bounds each read that no caller's context bounds.
const patience = 5 * time.Second

type stored[T any] struct {
	g     *Guard[T]
	codec Codec[T]
}

// name is the value's key in etcd.
func (s stored[T]) name() string { return s.g.key.ValuePath(s.g.locker.Prefix()) }

// get reads what is stored: nil if nothing is. rev is etcd's.
func (s stored[T]) get(ctx context.Context, opts ...clientv3.OpOption) (kv *mvccpb.KeyValue, rev int64, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, locker.ErrUnavailable)
	defer cancel()
	resp, err := s.g.locker.Client().KV.Get(ctx, s.name(), opts...)
	if err != nil {
		return nil, 0, etcdError(ctx, err)
	}
	if len(resp.Kvs) > 0 {
		kv = resp.Kvs[0]
	}
	return kv, resp.Header.Revision, nil
}

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
	value, _, err := s.version(ctx, opts)
	return value, err
}

func (s stored[T]) version(ctx context.Context, opts []GetOption) (value T, version int64, err error) {
	var o []clientv3.OpOption
	for _, opt := range opts {
		if opt == nil {
			return value, 0, invalid("nil GetOption")
		}
		opt(&o)
	}
	kv, _, err := s.get(ctx, o...)
	if err != nil {
		return value, 0, err
	}
	value, err = s.decode(kv)
	return value, kv.GetModRevision(), err
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
