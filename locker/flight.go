package locker

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/keyspace"
)

// A passenger is a transaction that goes with others.
type passenger struct {
	txn
	flight *flight // nil while it is in the queue, and when nobody waits for it any more

	answered chan struct{} // gets a value then
	answer
	err error
}

// A flight is a batch on its way. It is cancelled when nobody waits for it.
type flight struct {
	ctx    context.Context
	cancel context.CancelFunc
	era    int
	all    []*passenger
	left   int // how many wait for the answer; guarded by batcher.mu
}

// board takes from the queue, in its order, what may go together: one
// transaction for each lock. The caller holds mu.
func (b *batcher) board() *flight {
	if len(b.queue) == 0 {
		return nil
	}
	f := &flight{era: b.era}
	f.ctx, f.cancel = context.WithCancel(b.l.after)
	locks := make(map[keyspace.Key]bool, min(len(b.queue), b.limit))
	ops, bytes := 0, 0
	b.queue = slices.DeleteFunc(b.queue, func(p *passenger) bool {
		if p.touches(locks) || len(f.all) > 0 && (ops+p.ops() > b.limit || bytes+p.size() > maxBytes) {
			return false
		}
		ops += p.ops()
		bytes += p.size()
		locks[p.key] = true
		for _, k := range p.others {
			locks[k] = true
		}
		p.flight = f
		f.all = append(f.all, p)
		return true
	})
	f.left = len(f.all)
	if len(b.queue) > 0 {
		b.gather()
	}
	return f
}

func (b *batcher) start(f *flight) {
	if f == nil {
		return
	}
	fly := func() {
		b.fly(f.ctx, f.all, true)
		f.cancel()
		runtime.Gosched() // who was answered may come along
		b.land(f.era)
	}
	if !b.l.spawn(fly) {
		fly() // Close does not wait for it
	}
}

// fly sends transactions together and gives everybody the answer. Flat, the
// likely ones become parts of one, which does nothing if any of them must fail:
// then all are sent again, nested, which costs more. What one of them makes etcd
// refuse is sent again in halves, so that it alone fails.
func (b *batcher) fly(ctx context.Context, all []*passenger, flat bool) {
	if len(all) == 1 {
		p := all[0]
		p.answer, p.err = b.send(ctx, p.txn)
		if fault(p.err) {
			b.shun(p.key)
		}
		p.err = doubted(p.err, !flat)
		p.answered <- struct{}{}
		return
	}
	n := 0
	for _, p := range all {
		if !flat {
			p.txn = p.formed(false)
		}
		n += len(p.then)
	}
	cmps, ops := make([]clientv3.Cmp, 0, n), make([]clientv3.Op, 0, n)
	for _, p := range all {
		if flat && p.likely {
			cmps, ops = append(cmps, p.cmps...), append(ops, p.then...)
		} else {
			ops = append(ops, clientv3.OpTxn(p.cmps, p.then, p.els))
		}
	}
	resp, err := b.l.kv.Txn(ctx).If(cmps...).Then(ops...).Commit()
	if divisible(err) {
		b.learn(err, len(ops))
		half := len(all) / 2
		b.flyPart(ctx, all[:half], flat)
		b.flyPart(ctx, all[half:], flat)
		return
	}
	if err == nil && !resp.Succeeded {
		b.unlikely.Store(sinceStart())
		b.fly(ctx, all, false)
		return
	}
	err = doubted(err, !flat)
	i := 0
	for _, p := range all {
		switch p.err = err; {
		case err != nil:
		case flat && p.likely:
			p.answer = answer{true, p.txn.hopeful, resp.Header.Revision, resp.Responses[i : i+len(p.then)]}
			i += len(p.then)
		default:
			t := resp.Responses[i].GetResponseTxn()
			p.answer = answer{t.Succeeded, false, resp.Header.Revision, t.Responses}
			i++
		}
		p.answered <- struct{}{}
	}
}

// flyPart is fly for a part of a flight, which then is one of its own.
func (b *batcher) flyPart(ctx context.Context, all []*passenger, flat bool) {
	f := new(flight)
	f.ctx, f.cancel = context.WithCancel(ctx)
	defer f.cancel()
	b.mu.Lock()
	for _, p := range all {
		if p.flight != nil {
			p.flight = f
			f.left++
		}
	}
	if f.left == 0 {
		f.cancel()
	}
	b.mu.Unlock()
	b.fly(f.ctx, all, flat)
}

// doubted marks an error that is not the first answer.
func doubted(err error, again bool) error {
	if again && err != nil && !divisible(err) {
		return fmt.Errorf("%w: %w", errDoubt, err)
	}
	return err
}

// divisible reports whether etcd refused a batch for what may be the fault of
// one of its transactions, or of their number.
func divisible(err error) bool {
	return fault(err) || errors.Is(err, rpctypes.ErrLeaseNotFound)
}

// fault reports whether etcd refused a transaction for what is in it, and will
// do so again.
func fault(err error) bool {
	var e rpctypes.EtcdError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code().String() {
	case "InvalidArgument", "PermissionDenied":
		return true
	}
	return false
}
