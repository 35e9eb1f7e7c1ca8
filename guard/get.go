package guard

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A GetOption configures one Get.
type GetOption func(*getting)

// A getting is how one Get reads.
type getting struct{ opts []clientv3.OpOption }

// Serializable lets any member of etcd answer a Get locally: faster, and also when
// etcd has no leader. The value may be stale.
func Serializable() GetOption {
	return func(g *getting) { g.opts = append(g.opts, clientv3.WithSerializable()) }
}

// Get returns the value, without the lock: the last that was committed before
// Get returned, and no older than the last one before it was called. A value that
// was never stored, or was deleted, is the zero T; GetVersion tells it from a zero
// T that is stored. If the value is bound, Get is the Load of its Resource, and
// the options do not count.
//
// Get tries again while etcd is silent or fails for a reason that passes. A try
// waits 1 second for its answer, later ones up to 5: then the next asks another
// member, so one that is silent costs a Get some seconds. It ends with ctx, or
// after 5 seconds if ctx has no deadline. The error then matches that of ctx if it
// has ended, and locker.ErrUnavailable unless ctx was cancelled. A refusal of etcd
// comes back at once. What does not decode is ErrDecode; a guard without a
// resource gives ErrNoResource. The value is the zero T after every error.
func (g *Guard[T]) Get(ctx context.Context, opts ...GetOption) (value T, err error) {
	if err = g.check(ctx); err == nil {
		value, err = g.resource.look(ctx, opts)
	}
	return value, g.named("get", err)
}

// GetVersion is Get, and tells which version of the value it is, and whether one
// is stored at all. If what is stored does not decode, the error is ErrDecode and
// the Version has a zero T and the revision. A bound value has no versions: the
// error is ErrNoResource.
func (g *Guard[T]) GetVersion(ctx context.Context, opts ...GetOption) (v Version[T], err error) {
	s, err := g.stored(ctx)
	if err == nil {
		v, err = s.lookVersion(ctx, opts)
	}
	return v, g.named("get", err)
}
