package locker

import (
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/entry"
	"github.com/phpgao/elock/internal/outcome"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/internal/xctx"
)

// A commitPlan is a transaction of a hold's owner, and how the entries of the hold leave
// the queue with it, if they do.
type commitPlan struct {
	outcome.Txn
	entry.Following
	h *Hold
}

// planToLeave returns a plan in which nobody follows.
func (h *Hold) planToLeave(cmps []clientv3.Cmp, ops []clientv3.Op) *commitPlan {
	p := &commitPlan{Txn: outcome.Txn{Batch: h.l.batch, Cmps: cmps, Ops: ops}, h: h}
	for _, m := range h.members() {
		e := &m.entry.Entry
		p.Entries = append(p.Entries, e)
		p.Held = append(p.Held, record.Created(e.Name, e.Rev))
		p.Exit = append(p.Exit, clientv3.OpDelete(e.Name))
	}
	p.Alone = !p.aboutValues()
	return p
}

// plan returns a plan in which the lock passes on in this process, if it may, or
// stays taken, as AtLeast says: then it fails if no lease is granted for that. If it
// retains the entry, nobody else puts the record until Unlock is called.
func (h *Hold) plan(ctx *xctx.Grace, cmps []clientv3.Cmp, ops []clientv3.Op) (*commitPlan, error) {
	p := h.planToLeave(cmps, ops)
	if lingers, err := p.linger(ctx); lingers || len(p.Exit) > 1 {
		return p, err
	}
	p.Following = h.entry.Follow(ctx, h.read != nil && !p.Alone && h.mayPass())
	p.Held, p.Exit = p.Amend(ctx, p.Held, p.Exit)
	return p, nil
}

// linger has the transaction move the entries that are to stay, each under a lease that
// is granted for that, and reports whether there are any.
func (p *commitPlan) linger(ctx *xctx.Grace) (lingers bool, err error) {
	members := p.h.members()
	for _, m := range members {
		lingers = m.lingers() || lingers
	}
	if !lingers {
		return false, nil
	}
	rest := ctx.For(calls.Patience)
	defer rest.Stop()
	err = p.h.each(func(m *Hold) error {
		if m.stay == nil {
			return nil
		}
		return m.stay.Grant(rest, calls.Patience) // the transaction may be sent for so long
	})
	if err != nil {
		return true, timeoutCause(rest, err)
	}
	for i, m := range members {
		if m.stay != nil {
			p.Held = append(p.Held, m.stay.Held()...)
			p.Exit[i] = m.stay.Put()
		}
	}
	return true, nil
}

// aboutValues reports whether the caller's part is about nothing but the values that
// the locks guard.
func (p *commitPlan) aboutValues() bool {
	var values []string
	for _, m := range p.h.members() {
		values = append(values, m.Key().ValuePath(m.l.prefix))
	}
	own := func(key, end []byte) bool { return len(end) == 0 && slices.Contains(values, string(key)) }
	return !slices.ContainsFunc(p.Cmps, func(c clientv3.Cmp) bool { return !own(c.KeyBytes(), c.GetCompare().GetRangeEnd()) }) &&
		!slices.ContainsFunc(p.Ops, func(o clientv3.Op) bool { return o.IsTxn() || !own(o.KeyBytes(), o.RangeBytes()) })
}

// carriedOut sees to the lock after the transaction, with the answers to p.Exit.
func (p *commitPlan) carriedOut(ctx *xctx.Grace, rev int64, answers []*pb.ResponseOp) {
	h := p.h
	h.mu.Lock()
	h.committed = true
	h.mu.Unlock()
	switch {
	case p.Stays:
		p.Stayed(rev, p.Ops, answers)
		_ = h.free(ctx) // retried in the background
	case p.Successor != nil:
		_ = h.orSettle(func() error {
			p.Replaced(rev, answers, h.notifyEnd)
			h.markFreed()
			return nil
		})
	default:
		_ = h.each(func(m *Hold) error {
			if m.stay != nil {
				m.stay.Moved(rev)
				m.l.unkept.Remove(m)
				defer m.outlast(true, m.markFreed)
				m.notifyEnd()
				return nil
			}
			defer m.markFreed()
			m.endedInEtcd()
			return nil
		})
	}
}
