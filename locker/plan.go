package locker

import (
	"context"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/internal/retain"
	"github.com/phpgao/elock/internal/xctx"
)

// A commitPlan is a transaction of a hold's owner, and how the entries of the hold leave
// the queue with it, if they do.
type commitPlan struct {
	h    *Hold
	cmps []clientv3.Cmp // the caller's
	ops  []clientv3.Op

	held   []clientv3.Cmp // that the locks are held
	exit   []clientv3.Op  // how the entries leave
	stays  bool           // the entry does not leave, but is put again: the lock passes on in this process
	unlock func()         // lets others put the record again; may be called several times

	next      *waiter // who gets the lock then, with the entry or its successor; perhaps nil
	successor *entry  // joins the queue where the entry leaves it, for next; nil if none does
}

// An answer is what etcd says of a commit plan's transaction.
type answer struct {
	batch.Result
	// inDoubt says that the outcome of one of the tries is unknown: etcd may have carried
	// it out, even if it refuses the last one. It carries out one try at most: that
	// changes the entry, and the comparisons of the others then fail.
	inDoubt bool
	err     error
}

// planToLeave returns a plan in which nobody follows.
func (h *Hold) planToLeave(cmps []clientv3.Cmp, ops []clientv3.Op) *commitPlan {
	p := &commitPlan{h: h, cmps: cmps, ops: ops, unlock: func() {}}
	for _, m := range h.members() {
		p.held = append(p.held, record.Created(m.entry.Name, m.entry.Rev))
		p.exit = append(p.exit, clientv3.OpDelete(m.entry.Name))
	}
	return p
}

// plan returns a plan in which the lock passes on in this process, if it may. If it
// retains the entry, nobody else puts the record until unlock is called.
func (h *Hold) plan(ctx context.Context, cmps []clientv3.Cmp, ops []clientv3.Op) *commitPlan {
	e, p := h.entry, h.planToLeave(cmps, ops)
	if len(p.exit) > 1 {
		return p
	}
	p.next = e.next()
	switch {
	case p.mayStay() && e.retention.LockSure(ctx):
		p.stays, p.unlock = true, sync.OnceFunc(e.retention.Unlock)
		// Whether the record was put again will tell what became of the rest.
		p.held = []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(e.Name), "=", e.Mod)}
		p.exit = []clientv3.Op{retain.Put(&e.Entry, e.retention != nil)}
		if p.next != nil {
			p.exit = append(p.exit, record.Gets(p.next.Value.want.reads)...)
		}
	case p.next != nil && e.Lease.Waits().Err() == nil:
		p.successor = e.successorFor(p.next)
		p.held = append(p.held, record.Created(p.successor.Name, 0))
		p.exit = append(p.exit, p.successor.Join()...)
	}
	return p
}

// mayStay reports whether the lock may pass on without a release in etcd.
func (p *commitPlan) mayStay() bool {
	e := p.h.entry
	if p.h.read == nil || !p.aboutValues() || !p.h.mayPass() || !e.passable() {
		return false
	}
	if p.next == nil {
		return e.retention != nil || e.mayRetain()
	}
	return e.fits(p.next.Value.want) && time.Since(e.granted) < e.l.handoff
}

// aboutValues reports whether the caller's part is about nothing but the values that
// the locks guard.
func (p *commitPlan) aboutValues() bool {
	var values []string
	for _, m := range p.h.members() {
		values = append(values, m.Key().ValuePath(m.entry.l.prefix))
	}
	own := func(key, end []byte) bool { return len(end) == 0 && slices.Contains(values, string(key)) }
	return !slices.ContainsFunc(p.cmps, func(c clientv3.Cmp) bool { return !own(c.KeyBytes(), c.GetCompare().GetRangeEnd()) }) &&
		!slices.ContainsFunc(p.ops, func(o clientv3.Op) bool { return o.IsTxn() || !own(o.KeyBytes(), o.RangeBytes()) })
}

// persist sends the transaction until etcd tells what became of it or ctx ends. before
// is the answer to another plan for the same transaction.
func (p *commitPlan) persist(ctx *xctx.Grace, before answer) answer {
	a := answer{inDoubt: before.inDoubt}
	a.err = calls.Retry(ctx, func(ctx context.Context) (err error) {
		a.Result, err = p.send(ctx)
		a.inDoubt = a.inDoubt || a.InDoubt || err != nil && !batch.NotApplied(err)
		return err
	})
	return a
}

func (p *commitPlan) send(ctx context.Context) (batch.Result, error) {
	b := p.h.entry.l.batch
	t := batch.Txn{Key: p.h.Key(), ExpectSuccess: true, If: slices.Concat(p.held, p.cmps), Then: slices.Concat(p.ops, p.exit)}
	for _, m := range p.h.members() {
		t.Also = append(t.Also, m.Key())
		t.Else = append(t.Else, clientv3.OpGet(m.entry.Name))
	}
	if !p.aboutValues() {
		return b.Send(ctx, t) // in a batch, comparisons do not see what the others write
	}
	return b.Commit(ctx, t)
}

// missing returns a hold whose entry was not there when the transaction failed,
// or was marked as evicted; nil if there is none.
func (p *commitPlan) missing(a answer) *Hold {
	for i, m := range p.h.members() {
		if kvs := a.KVs(i); len(kvs) == 0 || !m.entry.Is(kvs[0]) || record.Evicted(kvs[0]) {
			return m
		}
	}
	return nil
}

// carriedOut sees to the lock after the transaction, with the answers to p.exit.
func (p *commitPlan) carriedOut(ctx *xctx.Grace, rev int64, answers []*pb.ResponseOp) {
	h, e := p.h, p.h.entry
	h.mu.Lock()
	h.committed = true
	h.mu.Unlock()
	switch {
	case p.stays:
		e.Mod = rev
		p.unlock()
		if p.next != nil {
			e.Read = record.ReadOf(rev, p.next.Value.want.reads, answers[1:])
		}
		_ = h.free(ctx) // retried in the background
	case p.successor != nil:
		p.successor.Joined(rev, answers[1:])
		_ = h.orSettle(func() error {
			e.replaced(p.successor, p.next, h.notifyEnd)
			h.markFreed()
			return nil
		})
	default:
		_ = h.each(func(m *Hold) error {
			defer m.markFreed()
			m.endedInEtcd()
			return nil
		})
	}
}
