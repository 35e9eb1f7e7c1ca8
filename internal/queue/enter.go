package queue

import (
	"context"
	"errors"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/lease"
	"github.com/phpgao/elock/internal/record"
)

// errStale says that there is an entry under e's name which is not to be held.
var errStale = errors.New("locker: stale queue entry")

// enter joins the queue and finds the place in it. A try joins only an empty
// queue; otherwise the place has its first entry. It tries until ctx ends. A
// put may be sent several times: it does nothing where an earlier one was
// carried out, which is adopted then.
func (e *Entry) enter(ctx context.Context, try bool) error {
	write := e.set.cfg.Etcd.Entering(ctx, e.Lease.Writes())
	defer write.Stop()
	err := calls.Retry(write, func(ctx context.Context) error { return e.enterOnce(ctx, try) })
	if err == nil && e.putInDoubt && e.Rev != 0 {
		e.mayComeLate()
	}
	return err
}

func (e *Entry) enterOnce(ctx context.Context, try bool) (err error) {
	for {
		sent := e.Sent // by an earlier try
		e.Sent = true
		if try {
			err = e.putIfFree(ctx)
		} else {
			err = e.put(ctx)
		}
		switch {
		case err == nil:
			e.Sent = e.Rev != 0 || e.putInDoubt
			return nil
		case errors.Is(err, errStale):
			if err := e.clear(ctx); err != nil || e.Rev != 0 {
				return err
			}
			e.Sent = e.putInDoubt
			continue
		case errors.Is(err, rpctypes.ErrLeaseNotFound):
			e.Lease.Lose(lease.Expired)
			fallthrough
		case batch.NotApplied(err):
			e.Sent = sent || e.putInDoubt
			return err
		}
		// The answer is lost, but perhaps the entry is there.
		before := e.putInDoubt
		e.putInDoubt = true
		own, failed := e.own(ctx)
		switch {
		case failed == nil && batch.Answered(err) && (own == nil || !e.wrote(own)):
			e.Sent, e.putInDoubt = before, before // it cannot come any more
			return err
		case failed != nil || own == nil || !e.wrote(own):
			return err
		case putOnce(own):
			return e.adopt(ctx, own)
		}
		// The put went over a key that somebody had written by hand, and has that
		// key's create revision, a place that is not its own. Or the entry is marked
		// as evicted.
		e.stale = own
		if err := e.clear(ctx); err != nil {
			return err
		}
	}
}

// put joins the queue. Together with others that are likely to do what they are
// sent for, it expects the queue to be empty: then it need not read who is ahead.
func (e *Entry) put(ctx context.Context) error {
	optimistic := e.Claim == (record.Claim{}) && !e.set.cfg.Batch.BackingOff() && !e.set.cfg.Feeds.Has(e.Dir)
	a, err := e.set.cfg.Batch.Commit(ctx, batch.Txn{Key: e.Key, Form: func(merged bool) batch.Txn {
		if merged && optimistic {
			return e.optimistic()
		}
		// A late write of an older entry does nothing then.
		return batch.Txn{Key: e.Key, If: []clientv3.Cmp{record.Created(e.Name, 0)}, Then: e.Join(), ExpectSuccess: true}
	}})
	e.putInDoubt = e.putInDoubt || a.InDoubt
	switch {
	case err != nil:
		return err
	case a.Optimistic:
		return e.leads(a)
	case !a.Succeeded:
		return errStale
	}
	e.Joined(a.Revision, a.Responses)
	return nil
}

// putIfFree joins the queue if it is empty. Otherwise the place has who is first.
func (e *Entry) putIfFree(ctx context.Context) error {
	holders := clientv3.WithFirstCreate()
	if e.Claim != (record.Claim{}) {
		holders = []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend)}
	}
	a, err := e.set.cfg.Batch.Commit(ctx, batch.Txn{
		Key:  e.Key,
		If:   []clientv3.Cmp{record.Vacant(e.Dir)}, // a key without a lease may have e's name
		Then: append([]clientv3.Op{e.entry(e.Lease.Put())}, record.Gets(e.reads)...),
		Else: []clientv3.Op{clientv3.OpGet(e.Dir, holders...)},
	})
	if err != nil {
		return err
	}
	e.putInDoubt = e.putInDoubt || a.InDoubt
	if a.Succeeded {
		return e.leads(a)
	}
	queue := a.Responses[0].GetResponseRange()
	if i := slices.IndexFunc(queue.Kvs, func(kv *mvccpb.KeyValue) bool { return string(kv.Key) == e.Name }); i >= 0 {
		e.stale = queue.Kvs[i]
		return errStale
	}
	if e.Claim != (record.Claim{}) {
		taken := 0
		for _, kv := range record.Entries(slices.Clone(queue.Kvs)) {
			taken += e.Taken(kv)
		}
		if taken <= e.Room() {
			return e.put(ctx) // all leave it room: the place says whether anybody else is ahead
		}
	}
	e.Behind(a.Revision, queue.Kvs[0], int(queue.Count))
	return nil
}

// leads notes that e came into an empty queue, as the answer to its entry and its
// reads says.
func (e *Entry) leads(a batch.Result) error {
	if old := a.Responses[0].GetResponsePut().PrevKv; old != nil {
		// The key was there without a lease, as somebody had written it by hand. The
		// entry has its create revision, a place that is not its own.
		e.stale = old
		return errStale
	}
	e.Rev, e.Mod, e.Sent = a.Revision, a.Revision, true
	e.Lead(a.Revision)
	e.Read = record.ReadOf(a.Revision, e.reads, a.Responses[1:])
	return nil
}

// adopt takes an entry that an earlier try of e has put.
func (e *Entry) adopt(ctx context.Context, own *mvccpb.KeyValue) error {
	e.Rev, e.Mod = own.CreateRevision, own.ModRevision
	return e.LookOnce(ctx)
}

// clear removes what is under e's name: a write of an older entry that was given up
// and committed late, or e's own over what somebody had written by hand. What an
// earlier try of e has put is adopted.
func (e *Entry) clear(ctx context.Context) (err error) {
	old := e.stale
	e.stale = nil
	if old == nil {
		old, err = e.own(ctx)
	}
	switch {
	case err != nil || old == nil: // it is gone
		return err
	case e.putInDoubt && putOnce(old) && e.wrote(old):
		return e.adopt(ctx, old)
	}
	return e.removeOrphan(ctx, old)
}

// putOnce reports whether kv is as its owner has put it first; perhaps it was told its turn since.
func putOnce(kv *mvccpb.KeyValue) bool { return kv.Version == 1 || record.ToldFirst(kv) }

// own returns what is in etcd under e's name, nil if nothing is.
func (e *Entry) own(ctx context.Context) (*mvccpb.KeyValue, error) {
	a, err := e.set.cfg.Batch.Commit(ctx, batch.Txn{Key: e.Key, Then: []clientv3.Op{clientv3.OpGet(e.Name)}})
	if err != nil || len(a.KVs(0)) == 0 {
		return nil, err
	}
	return a.KVs(0)[0], nil
}
