package locker

import (
	"context"
	"iter"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/phpgao/elock/internal/xctx"
	"github.com/phpgao/elock/keyspace"
)

// Watch yields who holds key and who waits for it, as Inspect does, at once and then after every
// change, in etcd's order.
//
// It goes on when a connection breaks, a leader of etcd is lost or etcd is away, and misses
// nothing by that. Only if etcd has compacted what was changed meanwhile, changes are left out,
// and the next is the queue as it is now. It costs one watch, and a read each 30 seconds.
//
// Watch ends when the loop does, or ctx. If the Locker is closed it yields ErrClosed, and if
// etcd refuses to read the queue, etcd's error: once, at the end.
func (l *Locker) Watch(ctx context.Context, key keyspace.Key) iter.Seq2[Queue, error] {
	return func(yield func(Queue, error) bool) {
		err := l.checkKey(key)
		if err == nil {
			under, cancel := xctx.Merge(ctx, l.ctx)
			defer cancel()
			err = l.inspector.Follow(under, key, func(entries []*mvccpb.KeyValue, rev int64) bool { return yield(queueOf(key, entries, rev), nil) })
		}
		if err != nil && ctx.Err() == nil {
			yield(Queue{}, &Error{Op: "watch", Key: key.String(), Err: err})
		}
	}
}
