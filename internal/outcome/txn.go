package outcome

import (
	"context"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/queue"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/internal/xctx"
)

// A Txn is a transaction of the owner of entries, which holds their locks.
type Txn struct {
	Batch   *batch.Batcher
	Alone   bool           // it is in no batch, where comparisons do not see what the others write
	Entries []*queue.Entry // of different locks

	Held []clientv3.Cmp // that the locks are held
	Cmps []clientv3.Cmp // the owner's
	Ops  []clientv3.Op  // the owner's
	Exit []clientv3.Op  // how the entries leave the queue, if they do
}

// An Answer is what etcd says of a Txn. The result of Txn.Ops comes first, and then that of Txn.Exit.
type Answer struct {
	batch.Result
	// InDoubt says that the outcome of one of the tries is unknown: etcd may have carried
	// it out, even if it refuses the last one. It carries out one try at most: that
	// changes the entry, and the comparisons of the others then fail.
	InDoubt bool
	Err     error
}

// Persist sends t until etcd tells what became of it or ctx ends. before is the answer to another Txn of the same entries.
func (t *Txn) Persist(ctx *xctx.Grace, before Answer) Answer {
	a := Answer{InDoubt: before.InDoubt}
	a.Err = calls.Retry(ctx, func(ctx context.Context) (err error) {
		a.Result, err = t.send(ctx)
		a.InDoubt = a.InDoubt || a.Result.InDoubt || err != nil && !batch.NotApplied(err)
		return err
	})
	return a
}

func (t *Txn) send(ctx context.Context) (batch.Result, error) {
	b := batch.Txn{Key: t.Entries[0].Key, ExpectSuccess: true, If: slices.Concat(t.Held, t.Cmps), Then: slices.Concat(t.Ops, t.Exit)}
	for _, e := range t.Entries {
		b.Also = append(b.Also, e.Key)
		b.Else = append(b.Else, clientv3.OpGet(e.Name))
	}
	if t.Alone {
		return t.Batch.Send(ctx, b)
	}
	return t.Batch.Commit(ctx, b)
}

// Missing returns the index of an entry that was not there when t failed, or was marked as evicted; below 0 if there is none.
func (t *Txn) Missing(a Answer) int {
	for i, e := range t.Entries {
		if kvs := a.KVs(i); len(kvs) == 0 || !e.Is(kvs[0]) || record.Evicted(kvs[0]) {
			return i
		}
	}
	return -1
}

// Rewritten returns the first entry if a comparison of t has failed, and its record, which t may have compared, was put again since
// its owner did so last: by t itself, or by one who asks for the lock, or who told the entry its turn. Otherwise it is nil.
func (t *Txn) Rewritten(a Answer) *mvccpb.KeyValue {
	if t.Verdict(a) != ComparisonFailed {
		return nil
	}
	if kv := a.KVs(0)[0]; kv.ModRevision > t.Entries[0].Mod {
		return kv
	}
	return nil
}

// A Verdict is what an answer means.
type Verdict int

const (
	Applied          Verdict = iota
	Lost                     // not carried out at the last try: an entry is Missing
	ComparisonFailed         // not carried out at the last try: one of the comparisons does not hold
	Rejected                 // refused at the only try
	InDoubt                  // there is no answer that says it
)

// Verdict returns what a means.
func (t *Txn) Verdict(a Answer) Verdict {
	switch {
	case a.Err == nil && a.Succeeded:
		return Applied
	case a.Err == nil && t.Missing(a) >= 0:
		return Lost
	case a.Err == nil:
		return ComparisonFailed
	case batch.NotApplied(a.Err) && !a.InDoubt:
		return Rejected
	}
	return InDoubt
}
