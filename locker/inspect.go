package locker

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/keyspace"
)

// Inspect returns who holds key and who waits for it, as etcd knows at this
// moment: one entry for each process, whichever library it uses. Callers that
// queue within a process do not show. If etcd is silent for 5 seconds the error
// is ErrUnavailable.
func (l *Locker) Inspect(ctx context.Context, key keyspace.Key) (Queue, error) {
	ctx, cancel := patient(ctx)
	defer cancel()
	q, err := Queue{}, l.checkKey(key)
	if err == nil {
		entries, rev, failed := l.inspector.Entries(ctx, key)
		q, err = queueOf(key, entries, rev), etcdError(ctx, failed)
	}
	if err != nil {
		return Queue{}, &Error{Op: "inspect", Key: key.String(), Err: err}
	}
	return q, nil
}

// queueOf returns the queue of key that has entries, the holder first, at the revision rev.
func queueOf(key keyspace.Key, entries []*mvccpb.KeyValue, rev int64) Queue {
	q, n := Queue{Key: key, Revision: rev}, record.Holding(entries)
	for i, kv := range entries {
		if i < n {
			q.Holders = append(q.Holders, ownerOf(kv))
		} else {
			q.Waiters = append(q.Waiters, ownerOf(kv))
		}
	}
	return q
}

// Evict takes key from its holder, whoever that is, or from all that share it,
// and reports whether there was one. A holder that uses this package learns of it
// within the latency of a watch, or within 2 seconds of its grant, as a LostError
// with the reason ReasonEvicted. While etcd has no space, Evict cannot write that into
// the entry, and the reason is ReasonKeyDeleted. The next in the queue may get the lock
// before the holder learns of it.
//
// If Evict fails the holder may have been evicted all the same; it may be
// repeated. If etcd is silent for 5 seconds the error is ErrUnavailable.
func (l *Locker) Evict(ctx context.Context, key keyspace.Key) (bool, error) {
	ctx, cancel := patient(ctx)
	defer cancel()
	done, err := false, l.checkKey(key)
	if err == nil {
		done, err = l.inspector.EvictHolders(ctx, key)
		err = etcdError(ctx, err)
	}
	if err != nil {
		return false, &Error{Op: "evict", Key: key.String(), Err: err}
	}
	return done, nil
}

// etcdError prefers the error of the caller's context, with its cause, which ended
// before the answer came.
func etcdError(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return silent(ctxError(ctx))
	}
	return err
}
