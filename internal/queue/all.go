package queue

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/lease"
	"github.com/phpgao/elock/internal/record"
)

// EnterAll puts entries of different locks, which have one lease, if all their queues
// are empty: then each is the first. It sends that once. On failure each entry's Sent
// tells whether anything of it may be in etcd.
func (s *Set) EnterAll(ctx context.Context, entries []*Entry) error {
	first, last := entries[0], entries[len(entries)-1]
	t := batch.Txn{Key: first.Key}
	for _, e := range entries {
		e.Sent = true
		t.Also = append(t.Also, e.Key)
		t.If = append(t.If, record.Vacant(e.Dir))
		t.Then = append(t.Then, e.entry(e.Lease.Put()))
		t.Else = append(t.Else, clientv3.OpGet(e.Name))
	}
	t.Then = append(t.Then, record.Gets(last.reads)...)
	// As in enter: what is cancelled on its way may commit late.
	write := s.cfg.Etcd.Entering(ctx, first.Lease.Writes())
	defer write.Stop()
	a, err := s.cfg.Batch.Commit(write, t)
	switch {
	case err == nil && !a.Succeeded:
		err = ErrTaken
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		first.Lease.Lose(lease.Expired)
	}
	if err != nil {
		s.cfg.Batch.Learn(err, len(t.Then))
		for i, e := range entries {
			e.Sent = !batch.NotApplied(err)
			e.putInDoubt = e.Sent // it may have been sent twice
			if err == ErrTaken {  // it is in etcd only if this was sent twice
				e.Sent = a.InDoubt || len(a.KVs(i)) > 0 && e.wrote(a.KVs(i)[0])
			}
		}
		return err
	}
	for i, e := range entries {
		e.putInDoubt = a.InDoubt
		own := a.Responses[i : i+1]
		if e == last {
			own = a.Responses[i:]
		}
		err = errors.Join(err, e.leads(batch.Result{Succeeded: true, Revision: a.Revision, Responses: own}))
		if e.putInDoubt {
			e.mayComeLate()
		}
	}
	return err
}
