package locker

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/entry"
	"github.com/phpgao/elock/internal/outcome"
	"github.com/phpgao/elock/internal/xctx"
)

// Commit carries out ops and releases the lock in one transaction of etcd,
// which requires that the lock is still held, and every one of cmps. It reports
// whether ops were carried out. If they were not, nothing is written. The hold
// ends in any case, but for a shared one, whose Commit is ErrInvalidOption.
//
// Commit works under a context that is done already, and waits for etcd's
// answer until half a second after the end of ctx. If an answer is lost, it
// finds out what became of the transaction, for as long as the lease lives. The
// outcome is inferred from the first put or delete of a single key in ops. If etcd
// stays silent, if ops has no such operation, or if the past was compacted and
// somebody else has written since, the error is ErrOutcomeUnknown. Every other
// error says that nothing was written, and why: the reason for which the hold ended
// earlier, or etcd's own error. A lock that could not be freed yet is no error:
// the release is retried in the background, as by Release.
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
	// One half of the grace is for the transaction, the other half for finding out what
	// became of it: asking begins when it is first used.
	ctx := h.releasing(caller, caller.Err() == nil)
	ctx.Grace = calls.Grace / 2
	defer ctx.Stop()
	asking := &xctx.Grace{Caller: caller, Limits: ctx.Limits, Limit: context.Background(), Grace: calls.Grace / 2, Outliver: ctx.Outliver}
	defer asking.Stop()
	if done, _ := h.end(ErrReleased); !done {
		return false, h.endCause()
	}
	p, err := h.plan(ctx, cmps, ops)
	if err != nil {
		_ = h.each(func(m *Hold) error { return m.freeIfReleased(ctx) }) // err says more
		return false, err
	}
	defer func() { p.Unlock() }()
	a := p.Persist(ctx, outcome.Answer{})
	if kv := p.Txn.Rewritten(a); p.Stays && kv != nil {
		rest := ctx.For(calls.Patience)
		done, err := p.question(h.entry).Rewritten(rest, kv)
		rest.Stop()
		switch {
		case done:
			p.settleAll(nil)
			return true, nil
		case err == nil || !a.InDoubt: // if the past is compacted, to do the same again does no harm
			p.Unlock()
			p = h.planToLeave(cmps, ops)
			a = p.Persist(ctx, outcome.Answer{})
		}
	}
	if p.forNext(a) {
		// An earlier try, of unknown outcome, may have put the successor.
		if a.InDoubt && p.Successor != nil {
			h.entry.Successor = &p.Successor.Entry
		}
		p.Unlock()
		p = h.planToLeave(cmps, ops)
		a = p.Persist(ctx, a)
	}
	switch p.Verdict(a) {
	case outcome.Applied:
		p.carriedOut(ctx, a.Revision, a.Responses[len(ops):])
		return true, nil
	case outcome.Lost:
		return p.lost(ctx, h.members()[p.Missing(a)], a.InDoubt)
	case outcome.ComparisonFailed:
		return p.comparisonFailed(ctx, a.InDoubt)
	case outcome.Rejected:
		_ = h.each(func(m *Hold) error { return m.freeIfReleased(ctx) }) // a.Err says more
		return false, a.Err
	}
	return p.inDoubt(asking, timeoutCause(ctx, a.Err))
}

// forNext reports whether the transaction may have failed only because it also does
// something for the next one: it puts or reads keys for it.
func (p *commitPlan) forNext(a outcome.Answer) bool {
	switch p.Verdict(a) {
	case outcome.ComparisonFailed:
		return p.Successor != nil
	case outcome.Rejected:
		return p.Stays || p.Tells || p.Next != nil
	case outcome.InDoubt: // perhaps etcd has no space for that
		return (p.Tells || p.Successor != nil) && batch.Answered(a.Err)
	}
	return false
}

// lost is for a transaction that was not carried out, as etcd says, because the entry of
// m is gone. It may have been carried out all the same: at an earlier try, which
// doubt says, or when a layer below has sent it twice.
func (p *commitPlan) lost(ctx *xctx.Grace, m *Hold, doubt bool) (bool, error) {
	rest := ctx.For(calls.Patience)
	defer rest.Stop()
	done, known := p.resolve(rest, m.entry)
	if done || doubt && !known {
		p.settleAll(nil)
		return p.told(done, known, nil)
	}
	err := p.h.vacateAll(rest)
	switch {
	case errors.Is(err, ErrLost):
		return false, err
	case p.h.l.closed.Load(): // Close revokes the lease
		return false, ErrClosed
	}
	return false, &LostError{Reason: ReasonKeyDeleted, Token: m.token}
}

// comparisonFailed is for a transaction of which etcd says that it was not carried out
// because a comparison failed, though the entries are there: one of the caller's, or the
// one that the record of the entry has not changed.
func (p *commitPlan) comparisonFailed(ctx *xctx.Grace, doubt bool) (bool, error) {
	if !p.Stays && !doubt { // one of the caller's, then
		if err := p.h.vacateAll(ctx); errors.Is(err, ErrLost) {
			return false, err
		}
		return false, nil
	}
	rest := ctx.For(calls.Patience)
	defer rest.Stop()
	done, known := p.resolve(rest, p.h.entry)
	p.settleAll(nil)
	return p.told(done, known || !doubt, nil)
}

// inDoubt is for a transaction of which etcd has not told what became of it.
func (p *commitPlan) inDoubt(ctx context.Context, err error) (bool, error) {
	done, known := p.resolve(ctx, p.h.entry)
	p.settleAll(err)
	return p.told(done, known, err)
}

// told returns what Commit does after the outcome was looked for, for the reason of err.
func (p *commitPlan) told(done, known bool, err error) (bool, error) {
	switch {
	case done:
		return true, nil
	case known:
		return false, err
	case err == nil:
		return false, ErrOutcomeUnknown
	}
	return false, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
}

// resolve finds out whether the transaction was carried out, as the end of an entry
// shows, which it removes; or as the lease of one shows that is to stay.
func (p *commitPlan) resolve(ctx context.Context, e *entry.Entry) (done, known bool) {
	h := p.h
	for _, m := range h.members() {
		if m.stay != nil {
			return m.stay.Committed(ctx)
		}
	}
	if p.Successor != nil {
		h.entry.Successor = &p.Successor.Entry
	}
	return p.question(e).Resolve(ctx)
}

// question is about the transaction, of which the end of an entry tells.
func (p *commitPlan) question(e *entry.Entry) *outcome.Question {
	since := p.h.entry.Rev
	if p.h.read != nil {
		since = p.h.read.Rev
	}
	return &outcome.Question{
		Etcd: p.h.l.etcd, Batch: p.h.l.batch, Queues: p.h.l.queues,
		Entry: &e.Entry, Stays: p.Stays, Ops: p.Ops, Since: since,
	}
}

// settleAll removes what may be left of the entries, in the background.
func (p *commitPlan) settleAll(cause error) {
	p.Unlock()
	_ = p.h.each(func(m *Hold) error {
		defer m.settle(cause)
		m.notifyEnd()
		return nil
	})
}

// vacateAll removes the entries of a hold that has ended.
func (h *Hold) vacateAll(ctx *xctx.Grace) error {
	return h.each(func(m *Hold) error {
		return m.orSettle(func() error {
			if m.lingers() {
				return m.linger(ctx)
			}
			return m.vacate(ctx)
		})
	})
}
