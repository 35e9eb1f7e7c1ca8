package retain

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/queue"
	"github.com/phpgao/elock/internal/xctx"
)

// Lock lets nobody else put the record of the entry. It fails when ctx is done.
func (r *Retention) Lock(ctx context.Context) bool {
	if r == nil {
		return true
	}
	select {
	case r.putting <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// LockSure is Lock, and fails too if it is not known what the record is.
func (r *Retention) LockSure(ctx context.Context) bool {
	if !r.Lock(ctx) {
		return false
	}
	if r != nil && r.inDoubt.Load() {
		r.Unlock()
		return false
	}
	return true
}

// Unlock undoes Lock or LockSure.
func (r *Retention) Unlock() {
	if r != nil {
		<-r.putting
	}
}

// publish writes into the record whether the lock is perhaps only retained. It notes
// whether others wait, and reports whether etcd has answered.
func (r *Retention) publish(ctx context.Context, retained bool) bool {
	e := r.e
	ctx, cancel := context.WithTimeout(ctx, xctx.Patience(0))
	defer cancel()
	if !r.Lock(ctx) {
		return false
	}
	defer r.Unlock()
	a, err := r.set.cfg.Batch.Commit(ctx, batch.Txn{
		Key: e.Key,
		If:  []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(e.Name), "=", e.Mod)}, // not the mark of an eviction
		Then: []clientv3.Op{
			Put(e, retained),
			clientv3.OpGet(e.Dir, clientv3.WithPrefix(), clientv3.WithCountOnly()),
		},
	})
	if err != nil {
		if !batch.NotApplied(err) {
			r.inDoubt.Store(true) // until one succeeds: no earlier one is carried out any more
		}
		return false
	}
	if a.Succeeded {
		e.Mod, r.written = a.Revision, a.Revision
	}
	r.inDoubt.Store(!a.Succeeded) // somebody has marked it, or this put was sent twice
	if !a.Succeeded || a.Responses[1].GetResponseRange().Count > 1 {
		r.wanted.Store(true)
	}
	return true
}

// Put puts the record of e again, which says whether the lock is perhaps only retained.
func Put(e *queue.Entry, retained bool) clientv3.Op {
	r := e.Record()
	r.Retained = retained
	return clientv3.OpPut(e.Name, string(r.Encode()), clientv3.WithIgnoreLease())
}
