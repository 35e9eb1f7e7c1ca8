package locker

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/keyspace"
)

// Inspect returns who holds key and who waits for it, as etcd knows at this
// moment: one entry for each process, whichever library it uses. With Slots it is one
// for each caller that holds some or waits in etcd. Callers that wait for others of their
// process do not show. If etcd is silent for 5 seconds the error is ErrUnavailable.
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

// Evict takes key from its holder, whoever that is, or from all that share it or hold its Slots,
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

// maxReason keeps the record in the lock's key small.
const maxReason = 1024

// RequestRelease asks the holder of key for the lock, or all that share it, and reports whether
// there is one. The holder sees it by Hold.Requested, with the reason, which is text of 1 KiB at
// most, and the name of this Locker's owner; it may release the lock, or do nothing. Nobody waits
// for that: to get the lock, acquire it, and Evict the holder if it takes too long.
//
// The first request of a hold counts; further ones are true, and change nothing. A lock that is
// only retained (WithRetain) is given up at once. One that only stays taken (AtLeast) has no
// holder. If the holder is a client of another library, which hears nothing of this, the error is
// ErrForeignHolder.
//
// If RequestRelease fails the holder may have been asked all the same; it may be repeated. If etcd
// is silent for 5 seconds the error is ErrUnavailable.
func (l *Locker) RequestRelease(ctx context.Context, key keyspace.Key, reason string) (bool, error) {
	ctx, cancel := patient(ctx)
	defer cancel()
	asked, err := false, l.checkKey(key)
	switch {
	case err != nil:
	case len(reason) > maxReason:
		err = invalid("reason of %d bytes; want at most %d", len(reason), maxReason)
	default:
		asked, err = l.inspector.RequestRelease(ctx, key, record.Request{By: l.owner, Reason: reason})
		err = etcdError(ctx, err)
	}
	if err != nil {
		return false, &Error{Op: "request", Key: key.String(), Err: err}
	}
	return asked, nil
}

// etcdError prefers the error of the caller's context, with its cause, which ended
// before the answer came.
func etcdError(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return silent(ctxError(ctx))
	}
	return err
}
