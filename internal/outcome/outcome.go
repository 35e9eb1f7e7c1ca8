package outcome

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/queue"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/internal/xctx"
)

// errUntold says that etcd does not show what became of a transaction.
var errUntold = errors.New("locker: etcd does not tell")

// A Question is about one transaction. It is asked once.
type Question struct {
	Etcd   *calls.Client
	Batch  *batch.Batcher
	Queues *queue.Set

	Entry *queue.Entry  // that the transaction deletes, or whose record it puts again
	Stays bool          // it puts the record again
	Ops   []clientv3.Op // what else it does
	Since int64         // a revision at which the lock was held: nobody else writes Ops' keys from then on

	end     int64            // the revision at which the entry was gone; 0 until known
	last    *mvccpb.KeyValue // the entry then; nil if that is not known
	removed bool             // by this Question
}

// Resolve reports whether the transaction was carried out, and whether that is known.
// It removes the entry. It asks until ctx or the entry's lease ends.
func (q *Question) Resolve(ctx context.Context) (done, known bool) {
	ctx, stop := xctx.Merge(ctx, q.Entry.Lease.Context())
	defer stop()
	wait := calls.FirstPause
	for n := 0; ctx.Err() == nil; n++ {
		try, cancel := context.WithTimeout(ctx, xctx.Patience(n))
		done, err := q.outcome(try)
		if errors.Is(err, rpctypes.ErrCompacted) {
			done, err = q.appearance(try)
		}
		cancel()
		switch {
		case err == nil:
			return done, true
		case errors.Is(err, errUntold), batch.NotApplied(err):
			return false, false
		}
		wait = xctx.Pause(ctx, wait)
	}
	return false, false
}

// outcome reports what etcd shows: the last record if the entry was to stay, and
// else the keys that the transaction was to change, as they were when the entry
// went.
func (q *Question) outcome(ctx context.Context) (bool, error) {
	if q.end == 0 {
		if err := q.endEntry(ctx); err != nil {
			return false, err
		}
	}
	switch {
	case q.Stays:
		return q.rewritten(ctx)
	case q.removed:
		return false, nil
	}
	for _, op := range q.Ops {
		single := len(op.RangeBytes()) == 0
		switch {
		case single && op.IsPut():
			kv, err := q.at(ctx, op.KeyBytes(), q.end)
			return kv != nil && kv.ModRevision == q.end && says(kv, op), err
		case single && op.IsDelete():
			kv, err := q.at(ctx, op.KeyBytes(), q.end)
			if err != nil || kv != nil {
				return false, err
			}
			if before, err := q.at(ctx, op.KeyBytes(), q.end-1); err != nil || before != nil {
				return err == nil, err
			}
		}
	}
	return false, errUntold
}

// endEntry removes the entry, or finds out when it went.
func (q *Question) endEntry(ctx context.Context) error {
	e := q.Entry
	t := queue.Removal(e.Key, e.Name, e.Rev)
	t.Then[0] = clientv3.OpDelete(e.Name, clientv3.WithPrevKV())
	a, err := q.Batch.Commit(ctx, t)
	if err != nil {
		return err
	}
	if a.Succeeded {
		q.end, q.removed, q.last = a.Revision, true, a.Responses[0].GetResponseDeleteRange().PrevKvs[0]
		return nil
	}
	ev, _, err := q.Queues.Deletion(ctx, e.Name, e.Rev+1)
	if err != nil {
		return err
	}
	q.end, q.last = ev.Kv.ModRevision, ev.PrevKv
	return nil
}

// rewritten reports whether the record was put again by the transaction.
func (q *Question) rewritten(ctx context.Context) (bool, error) {
	for kv := q.last; ; {
		switch {
		case kv == nil:
			return false, errUntold
		case kv.ModRevision <= q.Entry.Mod, record.ToldFirst(kv):
			return false, nil
		case record.HasNonce(kv, q.Entry.Record().Nonce) && !record.Evicted(kv) && record.Requested(kv) == nil:
			return true, nil
		}
		// That was Evict, a request for the lock, or somebody by hand; what was it before?
		var err error
		if kv, err = q.at(ctx, kv.Key, kv.ModRevision-1); err != nil {
			return false, err
		}
	}
}

// Rewritten reports whether the record, which somebody else has put since, was put again by the transaction before that. If not,
// the transaction is not carried out any more.
func (q *Question) Rewritten(ctx context.Context, now *mvccpb.KeyValue) (done bool, err error) {
	q.last = now
	err = q.Etcd.Persist(ctx, func(ctx context.Context) (err error) {
		done, err = q.rewritten(ctx)
		return err
	})
	return done, err
}

// says reports whether kv has the value that a put gives it, as far as that is
// known: it may leave the value as it is.
func says(kv *mvccpb.KeyValue, put clientv3.Op) bool {
	return len(put.ValueBytes()) == 0 || bytes.Equal(kv.Value, put.ValueBytes())
}

// at returns what a key was at a revision, now if that is 0; nil if it was not there.
func (q *Question) at(ctx context.Context, key []byte, rev int64) (*mvccpb.KeyValue, error) {
	resp, err := q.Etcd.Read(ctx, clientv3.OpGet(string(key), clientv3.WithRev(rev)))
	if err != nil {
		return nil, err
	}
	if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
		return kvs[0], nil
	}
	return nil, nil
}

// appearance is outcome without the past: sure as long as nobody else has
// written.
func (q *Question) appearance(ctx context.Context) (bool, error) {
	i := slices.IndexFunc(q.Ops, clientv3.Op.IsPut)
	if i < 0 || q.Stays {
		return false, errUntold
	}
	kv, err := q.at(ctx, q.Ops[i].KeyBytes(), 0)
	switch {
	case err != nil:
		return false, err
	case kv == nil:
		return false, errUntold
	case kv.ModRevision <= q.Since:
		return false, nil
	case kv.ModRevision == q.end && says(kv, q.Ops[i]):
		return true, nil
	}
	return false, errUntold
}
