package queue

import (
	"context"
	"errors"
	"slices"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/internal/xctx"
)

// Replace deletes e and puts successor at the end of the queue, in one
// transaction, trying until w ends. It reports false where e is not what it was: then
// nothing has changed. After an error, successor may be in etcd: it is e's Successor
// then, and the caller must call e.Clean.
func (e *Entry) Replace(w *xctx.Grace, successor *Entry) (bool, error) {
	var a batch.Result
	inDoubt := false
	err := calls.Retry(w, func(ctx context.Context) (err error) {
		a, err = e.set.cfg.Batch.Commit(ctx, batch.Txn{
			Key:  e.Key,
			If:   []clientv3.Cmp{record.Created(e.Name, e.Rev), record.Created(successor.Name, 0)},
			Then: slices.Concat([]clientv3.Op{clientv3.OpDelete(e.Name)}, successor.Join(), e.TellTurn(ctx)), ExpectSuccess: true,
			Else: []clientv3.Op{clientv3.OpGet(successor.Name)},
		})
		if errors.Is(err, rpctypes.ErrNoSpace) { // perhaps etcd has carried it out all the same
			a, err = e.set.cfg.Batch.Commit(ctx, batch.Txn{Key: e.Key, Then: []clientv3.Op{clientv3.OpGet(successor.Name)}})
			a.Succeeded = false
		}
		inDoubt = inDoubt || err != nil && !batch.NotApplied(err)
		return err
	})
	switch {
	case inDoubt && err != nil:
		e.Successor = successor
		return false, err
	case a.Succeeded:
		successor.Joined(a.Revision, a.Responses[1:])
	case err == nil && len(a.KVs(0)) > 0 && successor.wrote(a.KVs(0)[0]):
		// It was carried out, at an earlier try or as some layer below has sent it twice.
		successor.Rev, successor.Mod, successor.Sent = a.KVs(0)[0].CreateRevision, a.KVs(0)[0].ModRevision, true
	default:
		e.removalInDoubt = e.removalInDoubt || inDoubt // an earlier try may have been carried out, and successor deleted since
		return false, nil
	}
	return true, nil
}
