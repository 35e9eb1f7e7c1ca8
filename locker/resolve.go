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
	p.h.claim.heir = p.heir
	ctx, stop := either(ctx, p.claim.lease.ctx)
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

// outcome reports what etcd tells: the last record if the entry was to stay, and
// else the keys that the transaction was to change, as they were when the entry
// went.
func (p *parting) outcome(ctx context.Context, ops []clientv3.Op) (bool, error) {
	if p.end == 0 {
		if err := p.ending(ctx); err != nil {
			return false, err
		}
	}
	switch {
	case p.stays:
		return p.rewritten(ctx)
	case p.removed:
		return false, nil
	}
	for _, op := range ops {
		single := len(op.RangeBytes()) == 0
		switch {
		case single && op.IsPut():
			kv, err := p.at(ctx, op.KeyBytes(), p.end)
			return kv != nil && kv.ModRevision == p.end && says(kv, op), err
		case single && op.IsDelete():
			kv, err := p.at(ctx, op.KeyBytes(), p.end)
			if err != nil || kv != nil {
				return false, err
			}
			if before, err := p.at(ctx, op.KeyBytes(), p.end-1); err != nil || before != nil {
				return err == nil, err
			}
		}
	}
	return false, errUntold
}

// ending removes the entry, or finds out when it went.
func (p *parting) ending(ctx context.Context) error {
	c := p.claim
	t := removal(c.key, c.name, c.rev)
	t.then[0] = clientv3.OpDelete(c.name, clientv3.WithPrevKV())
	a, err := c.l.batch.commit(ctx, t)
	if err != nil {
		return err
	}
	if a.succeeded {
		p.end, p.removed, p.last = a.rev, true, a.responses[0].GetResponseDeleteRange().PrevKvs[0]
		return nil
	}
	ev, _, err := c.deletion(ctx, c.rev+1)
	if err != nil {
		return err
	}
	p.end, p.last = ev.Kv.ModRevision, ev.PrevKv
	return nil
}

// rewritten reports whether the record was put again by the transaction.
func (p *parting) rewritten(ctx context.Context) (bool, error) {
	for kv := p.last; ; {
		switch {
		case kv == nil:
			return false, errUntold
		case kv.ModRevision <= p.claim.mod:
			return false, nil
		case p.claim.wrote(kv) && !marked(kv):
			return true, nil
		}
		// That was Evict, or somebody by hand; what was it before?
		var err error
		if kv, err = p.at(ctx, kv.Key, kv.ModRevision-1); err != nil {
			return false, err
		}
	}
}

// says reports whether kv has the value that a put gives it, as far as that is
// known: it may leave the value as it is.
func says(kv *mvccpb.KeyValue, put clientv3.Op) bool {
	return len(put.ValueBytes()) == 0 || bytes.Equal(kv.Value, put.ValueBytes())
}

// at returns what a key was, nil if it was not there.
func (p *parting) at(ctx context.Context, key []byte, rev int64) (*mvccpb.KeyValue, error) {
	resp, err := p.claim.l.kv.Get(ctx, string(key), clientv3.WithRev(rev))
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
	if i < 0 || p.stays {
		return false, errUntold
	}
	kv, err := p.at(ctx, ops[i].KeyBytes(), 0)
	switch {
	case err != nil:
		return false, err
	case kv == nil:
		return false, errUntold
	case kv.ModRevision <= base:
		return false, nil
	case kv.ModRevision == p.end && says(kv, ops[i]):
		return true, nil
	}
	return false, errUntold
}
