package guard

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A GetOption configures one Get.
type GetOption func(*[]clientv3.OpOption)

// Serializable makes a Get be answered by whichever member of etcd it meets,
// without a word to the others: faster, also when etcd has no leader, and
// perhaps of a moment ago.
func Serializable() GetOption {
	return func(o *[]clientv3.OpOption) { *o = append(*o, clientv3.WithSerializable()) }
}

// Get returns the value, without the lock: the last that was committed before
// Get returned, and no older than the last one before it was called. A value that was never stored, or was
// deleted, is the zero T. If the value is bound, Get is the Load of its
// Resource, and the options do not count.
//
// ctx bounds the call; if etcd is silent for 5 seconds the error is
// locker.ErrUnavailable. What does not decode is ErrDecode; a guard without a
// resource gives ErrNoResource. The value is the zero T after every error.
func (g *Guard[T]) Get(ctx context.Context, opts ...GetOption) (value T, err error) {
	if err = g.check(ctx); err == nil {
		value, err = g.resource.look(ctx, opts)
	}
	return value, g.named("get", err)
}

// GetVersion is Get, and tells which version of the value it is: the revision
// of etcd that committed it. It is 0 where no value is stored, which tells that
// from a zero T that is; and it grows with every commit, also when the value was
// deleted in between. A bound value has none: the error is ErrNoResource.
func (g *Guard[T]) GetVersion(ctx context.Context, opts ...GetOption) (value T, version int64, err error) {
	s, err := g.stored(ctx)
	if err == nil {
		value, version, err = s.version(ctx, opts)
	}
	return value, version, g.named("get", err)
}
