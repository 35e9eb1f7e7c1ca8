package locker

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// errUntold says that etcd does not tell what became of a transaction.
var errUntold = errors.New("locker: etcd does not tell")

// resolve finds out whether a transaction whose answer is lost was carried out.
// It first removes the hold's entry, if it is still there: after that it cannot
// be carried out any more.
func (p *parting) resolve(ctx context.Context, ops []clientv3.Op) (done, known bool) {
	c := p.h.claim
	c.heir = p.heir
	ctx, stop := either(ctx, c.lease.ctx)
	defer stop()
	for wait := retryPause; ctx.Err() == nil; wait = pause(ctx, wait) {
		try, cancel := context.WithTimeout(ctx, patience)
		done, err := p.outcome(try, ops)
		if errors.Is(err, rpctypes.ErrCompacted) {
			done, err = p.appearance(try, ops)
		}
		cancel()
		switch {
		case err == nil:
			return done, true
		case errors.Is(err, errUntold), refused(err):
			return false, false
		}
	}
	return false, false
}

// outcome reports what the keys say that the transaction was to change, as they
// were when the entry went.
func (p *parting) outcome(ctx context.Context, ops []clientv3.Op) (bool, error) {
	c := p.h.claim
	if p.end == 0 {
		a, err := c.l.batch.commit(ctx, removal(c.key, c.name, c.rev))
		if err != nil {
			return false, err
		}
		p.end, p.removed = a.rev, a.succeeded
		if !a.succeeded {
			p.end = 0
			ev, _, err := c.deletion(ctx, c.rev+1)
			if err != nil {
				return false, err
			}
			p.end = ev.Kv.ModRevision
		}
	}
	if p.removed && !p.stays {
		return false, nil
	}
	for _, op := range ops {
		single := len(op.RangeBytes()) == 0
		switch {
		case single && op.IsPut() && p.stays:
			return p.among(ctx, op)
		case single && op.IsPut():
			kv, err := p.at(ctx, op, p.end)
			return kv != nil && kv.ModRevision == p.end && bytes.Equal(kv.Value, op.ValueBytes()), err
		case single && op.IsDelete() && !p.stays:
			kv, err := p.at(ctx, op, p.end)
			if err != nil || kv != nil {
				return false, err
			}
			if before, err := p.at(ctx, op, p.end-1); err != nil || before != nil {
				return err == nil, err
			}
		}
	}
	return false, errUntold
}

// among reports whether a put is among the versions of its key since the hold
// read it: a stranger may have written after it.
func (p *parting) among(ctx context.Context, put clientv3.Op) (bool, error) {
	for rev := p.end; ; {
		kv, err := p.at(ctx, put, rev)
		switch {
		case err != nil:
			return false, err
		case kv == nil: // a stranger deleted it: the hold has read it
			return false, errUntold
		case kv.ModRevision <= p.h.read.rev:
			return false, nil
		case bytes.Equal(kv.Value, put.ValueBytes()):
			return true, nil
		}
		rev = kv.ModRevision - 1
	}
}

// at returns what the key of op was, nil if it was not there.
func (p *parting) at(ctx context.Context, op clientv3.Op, rev int64) (*mvccpb.KeyValue, error) {
	resp, err := p.h.claim.l.kv.Get(ctx, string(op.KeyBytes()), clientv3.WithRev(rev))
	if err != nil || len(resp.Kvs) == 0 {
		return nil, err
	}
	return resp.Kvs[0], nil
}

// appearance is outcome without the past: sure as long as nobody else has
// written.
func (p *parting) appearance(ctx context.Context, ops []clientv3.Op) (bool, error) {
	h := p.h
	base := h.claim.rev
	if h.read != nil {
		base = h.read.rev
	}
	i := slices.IndexFunc(ops, clientv3.Op.IsPut)
	if i < 0 {
		return false, errUntold
	}
	kv, err := p.at(ctx, ops[i], 0)
	switch {
	case err != nil:
		return false, err
	case kv == nil:
		return false, errUntold
	case kv.ModRevision <= base:
		return false, nil
	case bytes.Equal(kv.Value, ops[i].ValueBytes()) && (kv.ModRevision == p.end && !p.removed || kv.ModRevision < p.end && p.removed):
		return true, nil
	}
	return false, errUntold
}
