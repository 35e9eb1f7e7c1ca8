package locker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Commit carries out ops and releases the lock in one transaction of etcd,
// which requires that the lock is still held, and every one of cmps. It reports
// whether ops were carried out. If they were not, nothing is written. The hold
// ends in any case, but for a shared one, whose Commit is ErrInvalidOption.
//
// Commit works under a context that is done already, and waits for etcd's
// answer until half a second after the end of ctx. If an answer is lost, it
// finds out what became of the transaction, for as long as the lease lives. If
// etcd stays silent or does not tell, the error is ErrOutcomeUnknown: it tells by
// the first put or delete of a single key, unless its past was compacted and
// somebody else has written since. Every other error says that nothing was
// written, and why: the reason for which the hold ended earlier, or etcd's own
// error. A lock that could not be freed yet is no error:
// that is tried on in the background, as by Release.
func (h *Hold) Commit(ctx context.Context, cmps []clientv3.Cmp, ops ...clientv3.Op) (bool, error) {
	done, err := h.commit(ctx, cmps, ops)
	if err != nil {
		return false, &Error{Op: "commit", Key: h.names(), Err: err}
	}
	return done, nil
}

func (h *Hold) commit(caller context.Context, cmps []clientv3.Cmp, ops []clientv3.Op) (bool, error) {
	if h.Shared() {
		return false, invalid("Commit of a shared hold")
	}
	if err := h.Err(); err != nil { // by the clocks
		return false, err
	}
	// Half of the grace is to find out what became of it.
	ctx := h.releasing(caller)
	ctx.grace = grace / 2
	defer ctx.stop()
	still := &late{caller: caller, limit: context.Background(), grace: grace / 2, releases: ctx.releases}
	defer still.stop()
	if !h.end(ErrReleased) {
		return false, h.ending()
	}
	p := h.part(ctx, cmps, ops)
	defer p.unlock()
	a, err := p.send(ctx, cmps, ops)
	if refused(err) && (p.stays || p.next != nil) || err == nil && !a.succeeded && p.heir != nil && h.missing(a) == nil {
		// Perhaps for what is done for the next one.
		p.unlock()
		p = h.partForGood()
		a, err = p.send(ctx, cmps, ops)
	}
	switch {
	case err == nil && a.succeeded:
		p.carriedOut(ctx, a.rev, a.responses[len(ops):])
		return true, nil
	case err == nil && h.missing(a) == nil && !p.stays: // one of cmps, then
		if err := h.each(func(m *Hold) error { return m.vacate(ctx) }); errors.Is(err, ErrLost) {
			return false, err
		}
		return false, nil
	case err == nil:
		return p.failed(ctx, ops, h.missing(a))
	case refused(err):
		_ = h.each(func(m *Hold) error { return m.freeIfReleased(ctx) }) // err says more
		return false, err
	}
	err = ctx.silence(err)
	done, known := p.resolve(still, ops)
	p.settle(err)
	switch {
	case !known:
		return false, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	case !done:
		return false, err
	}
	return true, nil
}

// failed is for a transaction that etcd did not carry out, as it says, because
// the entry of lost is gone or, if that is nil, one of cmps does not hold. It may
// have been carried out all the same: when a layer below has sent it twice.
func (p *parting) failed(ctx *late, ops []clientv3.Op, lost *Hold) (bool, error) {
	h := p.h
	if lost != nil {
		p.claim = lost.claim
	}
	if done, _ := p.resolve(ctx, ops); done {
		p.settle(nil)
		return true, nil
	}
	if lost == nil {
		p.settle(nil)
		return false, nil
	}
	err := h.each(func(m *Hold) error { return m.vacate(ctx) })
	switch {
	case errors.Is(err, ErrLost):
		return false, err
	case h.claim.l.closed.Load(): // Close revokes the lease
		return false, ErrClosed
	}
	return false, &LostError{Reason: KeyDeleted, Token: lost.token}
}

// settle removes what may be left of the entries, in the background.
func (p *parting) settle(cause error) {
	for _, m := range p.h.members() {
		m.ended()
		m.claim.settle(cause, m.settle)
	}
}

// send sends the transaction.
func (p *parting) send(ctx context.Context, cmps []clientv3.Cmp, ops []clientv3.Op) (answer, error) {
	t := txn{key: p.h.Key(), likely: true, cmps: slices.Concat(p.cmps, cmps), then: slices.Concat(ops, p.ops)}
	for _, m := range p.h.members() {
		t.others = append(t.others, m.Key())
		t.els = append(t.els, clientv3.OpGet(m.claim.name))
	}
	if !p.h.concern(cmps, ops) {
		return p.h.claim.l.batch.send(ctx, t) // in a batch, comparisons do not see what the others write
	}
	return p.h.claim.l.batch.commit(ctx, t)
}

// missing returns a hold whose entry was not there when its transaction failed,
// or was marked as evicted.
func (h *Hold) missing(a answer) *Hold {
	for i, m := range h.members() {
		if kvs := a.kvs(i); len(kvs) == 0 || !m.claim.is(kvs[0]) || marked(kvs[0]) {
			return m
		}
	}
	return nil
}

// concern reports whether a transaction is about nothing but the values that
// the locks guard.
func (h *Hold) concern(cmps []clientv3.Cmp, ops []clientv3.Op) bool {
	var values []string
	for _, m := range h.members() {
		values = append(values, m.Key().ValuePath(m.claim.l.prefix))
	}
	own := func(key, end []byte) bool { return len(end) == 0 && slices.Contains(values, string(key)) }
	return !slices.ContainsFunc(cmps, func(c clientv3.Cmp) bool { return !own(c.KeyBytes(), c.GetCompare().GetRangeEnd()) }) &&
		!slices.ContainsFunc(ops, func(o clientv3.Op) bool { return o.IsTxn() || !own(o.KeyBytes(), o.RangeBytes()) })
}

// A parting is how the entries of a hold leave the queue with a transaction of
// its owner, if they do.
type parting struct {
	h      *Hold
	cmps   []clientv3.Cmp // that the lock is held
	ops    []clientv3.Op  // what they do
	stays  bool           // the entry does not leave, but is put again: the lock passes on in this process
	unlock func()         // lets others put the record again
	next   *turn          // who gets the lock then, or may get heir's; perhaps nil
	heir   *claim         // joins the queue where the entry leaves it, for next

	claim   *claim           // whose entry tells when the lock was gone
	end     int64            // the revision at which it was; 0 until known
	last    *mvccpb.KeyValue // the entry then; nil if that is not known
	removed bool             // by resolve
}

// partForGood is part without anybody to follow.
func (h *Hold) partForGood() *parting {
	p := &parting{h: h, claim: h.claim, unlock: func() {}}
	for _, m := range h.members() {
		p.cmps = append(p.cmps, created(m.claim.name, m.claim.rev))
		p.ops = append(p.ops, clientv3.OpDelete(m.claim.name))
	}
	return p
}

func (h *Hold) part(ctx context.Context, cmps []clientv3.Cmp, ops []clientv3.Op) *parting {
	c, p := h.claim, h.partForGood()
	if len(p.ops) > 1 {
		return p
	}
	p.next = c.l.lanes.next(c)
	switch {
	case h.mayStay(p.next, cmps, ops) && c.kept.lockSure(ctx):
		p.stays, p.unlock = true, sync.OnceFunc(c.kept.unlock)
		// Whether the record was put again will tell what became of the rest.
		p.cmps = []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(c.name), "=", c.mod)}
		p.ops = []clientv3.Op{c.rewrite(c.kept != nil)}
		if p.next != nil {
			p.ops = append(p.ops, gets(p.next.want.reads)...)
		}
	case p.next != nil && c.lease.waits.Err() == nil:
		p.heir = c.heirFor(p.next)
		p.cmps = append(p.cmps, created(p.heir.name, 0))
		p.ops = append(p.ops, p.heir.join()...)
	}
	return p
}

// mayStay reports whether the lock may pass on without a release in etcd.
func (h *Hold) mayStay(next *turn, cmps []clientv3.Cmp, ops []clientv3.Op) bool {
	c := h.claim
	if h.read == nil || !h.concern(cmps, ops) || !h.mayPass() || !c.passable() {
		return false
	}
	if next == nil {
		return c.kept != nil || c.mayRetain()
	}
	return next.want.mode() == c.rec.Mode && time.Since(c.granted) < c.l.handoff
}

// carriedOut sees to the lock after the transaction, with the answers to p.ops.
func (p *parting) carriedOut(ctx *late, rev int64, answers []*pb.ResponseOp) {
	h, c := p.h, p.h.claim
	h.mu.Lock()
	h.committed = true
	h.mu.Unlock()
	switch {
	case p.stays:
		c.mod = rev
		p.unlock()
		if p.next != nil {
			c.read = readOf(rev, p.next.want.reads, answers[1:])
		}
		_ = h.free(ctx) // tried on in the background
	case p.heir != nil:
		p.heir.joined(rev, answers[1:])
		c.replaced(p.heir, p.next, h.ended)
		h.settle()
	default:
		for _, m := range h.members() {
			m.ended()
			m.claim.done()
			m.settle()
		}
	}
}
