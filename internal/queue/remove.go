package queue

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/etcderr"
	"github.com/phpgao/elock/internal/xctx"
	"github.com/phpgao/elock/keyspace"
)

// Delete deletes the key with that create revision and no other, and
// reports whether it was there. inDoubt says that it may have been, although it is
// not: the deletion was sent twice.
func (s *Set) Delete(ctx context.Context, key keyspace.Key, name string, rev int64) (deleted, inDoubt bool, err error) {
	return s.delete(ctx, Removal(key, name, rev))
}

func (s *Set) delete(ctx context.Context, t batch.Txn) (deleted, inDoubt bool, err error) {
	a, err := s.cfg.Batch.Commit(ctx, t)
	return a.Succeeded, a.InDoubt, err
}

// remove deletes e and no other entry, as Set.Delete does.
func (e *Entry) remove(ctx context.Context, patient bool) (deleted, inDoubt bool, err error) {
	if e.Rev == 0 {
		own, err := e.own(ctx)
		if err != nil || own == nil || !e.wrote(own) {
			return false, false, err
		}
		e.Rev = own.CreateRevision
	}
	t := Removal(e.Key, e.Name, e.Rev)
	t.Patient = patient
	turn := e.TellTurn(ctx)
	t.Then = append(t.Then, turn...)
	deleted, inDoubt, err = e.set.delete(ctx, t)
	if len(turn) > 0 && etcderr.Contents(err) {
		// Perhaps the turn cannot be written, and etcd takes the removal alone. It may have carried out both.
		e.removalInDoubt = e.removalInDoubt || !batch.NotApplied(err)
		e.ForgetFollowers()
		t.Then = t.Then[:1]
		deleted, inDoubt, err = e.set.delete(ctx, t)
	}
	return deleted, inDoubt, err
}

// Leave deletes e, trying until w ends, and reports whether this call deleted it. If
// the outcome of a try is unknown, an entry that is gone counts as deleted by that
// try, unless something else is known to have ended it.
func (e *Entry) Leave(w *xctx.Grace) (gone bool, err error) {
	err = calls.Retry(w, func(ctx context.Context) error {
		deleted, twice, err := e.remove(ctx, w.Patient)
		gone = deleted
		if err == nil && !deleted && (e.removalInDoubt || twice) {
			loss, evicted := e.Fate(ctx)
			gone = loss == 0 && !evicted
		}
		e.removalInDoubt = e.removalInDoubt || err != nil && !batch.NotApplied(err)
		return err
	})
	return gone, err
}

// Clean removes e, and a Successor that may be there instead, trying until that is
// done or the lease has ended. after says why, for the log.
func (e *Entry) Clean(after error) {
	if e.Successor != nil {
		defer e.Successor.Clean(after) // once e is gone, it cannot come any more
	}
	logged := false
	wait := calls.FirstPause
	for n := 0; e.Lease.Context().Err() == nil; n++ {
		ctx, cancel := context.WithTimeout(e.Lease.Context(), xctx.Patience(n))
		deleted, _, err := e.remove(ctx, false)
		cancel()
		if err == nil {
			if e.putInDoubt || !deleted && e.Rev == 0 {
				e.mayComeLate()
			}
			return
		}
		if !logged && e.Lease.Context().Err() == nil {
			e.set.cfg.Log.Warn("elock: could not free the lock; retrying", "key", e.Key.String(), "owner", e.set.cfg.Owner, "after", after, "err", err)
			logged = true
		}
		wait = xctx.Pause(e.Lease.Context(), wait)
	}
}

// removeOrphan deletes an entry of this process that nobody stands for any more.
func (e *Entry) removeOrphan(ctx context.Context, orphan *mvccpb.KeyValue) error {
	deleted, _, err := e.set.Delete(ctx, e.Key, string(orphan.Key), orphan.CreateRevision)
	if deleted {
		e.set.cfg.Log.Info("elock: removed an entry left behind", "key", e.Key.String(), "owner", e.set.cfg.Owner)
	}
	return err
}
