package locker

import (
	"context"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/keyspace"
)

// Inspect returns who holds key and who waits for it, as etcd knows at this
// moment: one entry for each process, whichever library it uses. Callers that
// queue within a process do not show. If etcd is silent for 5 seconds the error
// is ErrUnavailable.
func (l *Locker) Inspect(ctx context.Context, key keyspace.Key) (Queue, error) {
	ctx, cancel := patient(ctx)
	defer cancel()
	var q Queue
	entries, err := l.entries(ctx, key)
	if err != nil {
		return q, &Error{Op: "inspect", Key: key.String(), Err: err}
	}
	n := holding(entries)
	for i, kv := range entries {
		if i < n {
			q.Holders = append(q.Holders, ownerOf(kv))
		} else {
			q.Waiters = append(q.Waiters, ownerOf(kv))
		}
	}
	return q, nil
}

// holding is how many entries of a queue hold the lock: those at its head that
// share it, or the first.
func holding(queue []*mvccpb.KeyValue) int {
	n := slices.IndexFunc(queue, alone)
	if n < 0 {
		n = len(queue)
	}
	return min(max(n, 1), len(queue))
}

// Evict takes key from its holder, whoever that is, or from all who share it,
// and reports whether there was one. A holder that uses this package learns of it within the latency of
// a watch, or within 2 seconds of its grant, as a LostError with the reason
// Evicted; the next in the queue may get the lock before that. If Evict fails
// the holder may have been evicted all the same; it may be repeated. If etcd is
// silent for 5 seconds the error is ErrUnavailable.
func (l *Locker) Evict(ctx context.Context, key keyspace.Key) (bool, error) {
	ctx, cancel := patient(ctx)
	defer cancel()
	done, err := l.evict(ctx, key)
	if err != nil {
		return false, &Error{Op: "evict", Key: key.String(), Err: err}
	}
	return done, nil
}

func (l *Locker) evict(ctx context.Context, key keyspace.Key) (bool, error) {
	entries, err := l.entries(ctx, key)
	if err != nil {
		return false, err
	}
	evicted := false
	for _, holder := range entries[:holding(entries)] {
		gone, err := l.evictOne(ctx, key, holder)
		if err != nil {
			return false, err
		}
		evicted = evicted || gone
	}
	return evicted, nil
}

func (l *Locker) evictOne(ctx context.Context, key keyspace.Key, holder *mvccpb.KeyValue) (bool, error) {
	name, marked := string(holder.Key), false
	if r, ok := parseRecord(holder.Value); ok {
		// Say it in the record first: who is evicted reads it in the event.
		r.Evicted = true
		resp, err := l.kv.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(name), "=", holder.CreateRevision)).
			Then(clientv3.OpPut(name, string(r.encode()), clientv3.WithIgnoreLease())).
			Commit()
		if err != nil {
			return false, etcdError(ctx, err)
		}
		marked = resp.Succeeded // who only retains the lock may give it up at that
	}
	gone, err := l.deleteRevision(ctx, key, name, holder.CreateRevision)
	return gone || marked, etcdError(ctx, err)
}

// entries returns the queue of key, the holder first.
func (l *Locker) entries(ctx context.Context, key keyspace.Key) ([]*mvccpb.KeyValue, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	if key.IsZero() {
		return nil, errZeroKey
	}
	resp, err := l.kv.Get(ctx, key.Path(l.prefix), clientv3.WithPrefix(),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	if err != nil {
		return nil, etcdError(ctx, err)
	}
	return leased(resp.Kvs), nil
}

// etcdError prefers the error of the caller's context, with its cause.
func etcdError(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctxError(ctx)
	}
	return err
}
