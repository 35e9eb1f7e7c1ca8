package batch

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/clock"
	"github.com/phpgao/elock/internal/etcderr"
	"github.com/phpgao/elock/keyspace"
)

// A batch is requests that are on their way together.
type batch struct {
	ctx        context.Context
	cancel     context.CancelFunc
	generation int
	requests   []*request
	waiting    int // how many requests are waited for; guarded by Batcher.mu
}

// leave notes that one is not waited for any more, and cancels the batch if none is. The caller holds mu.
func (n *batch) leave() {
	if n.waiting--; n.waiting == 0 {
		n.cancel()
	}
}

// A room is what a batch has space for.
type room struct {
	ops, bytes int
	keys       map[keyspace.Key]bool // that are in it
}

func (r *room) fits(t Txn) bool { return t.ops() <= r.ops && t.size() <= r.bytes }

func (r *room) take(t Txn) {
	r.ops -= t.ops()
	r.bytes -= t.size()
	r.keys[t.Key] = true
	for _, k := range t.Also {
		r.keys[k] = true
	}
}

// maxPassed is how many that do not fit into a batch it passes over.
const maxPassed = MaxOps

// fill takes from the queue what may go together: in its order, one transaction for each key, and one at least. It returns nil if
// nobody waits there. The caller holds mu.
func (b *Batcher) fill() *batch {
	if len(b.queue) == b.left {
		b.queue, b.left = nil, 0
		return nil
	}
	n := &batch{generation: b.generation}
	n.ctx, n.cancel = context.WithCancel(b.cfg.Limits.Within(0))
	n.requests = make([]*request, 0, min(len(b.queue), b.limit))
	free := room{b.limit, maxBytes, b.taken}
	defer clear(b.taken)
	var passed []*request
	seen := 0
	for ; seen < len(b.queue) && free.ops > 0 && len(passed) < maxPassed; seen++ {
		r := b.queue[seen]
		switch {
		case r.gone:
			b.left--
		case r.about(free.keys) || len(n.requests) > 0 && !free.fits(r.Txn):
			passed = append(passed, r)
		default:
			free.take(r.Txn)
			r.batch = n
			n.requests = append(n.requests, r)
			if !r.Patient {
				b.eager--
			}
		}
	}
	seen -= len(passed)
	copy(b.queue[seen:], passed) // before those that were not looked at
	rest := b.queue[seen:]
	if len(rest) <= seen { // to the front, where there is room for those to come
		rest = b.queue[:copy(b.queue, rest)]
		clear(b.queue[len(rest):])
	} else {
		clear(b.queue[:seen])
	}
	b.queue = rest
	n.waiting = len(n.requests)
	if len(b.queue) > 0 {
		b.armTimer()
	}
	return n
}

// start sends n, if it is not nil, on a goroutine of its own.
func (b *Batcher) start(n *batch) {
	if n == nil {
		return
	}
	run := func() {
		b.send(n.ctx, n.requests, true, false)
		n.cancel()
		runtime.Gosched() // callers that were just answered can join the next batch
		b.finish(n.generation)
	}
	if !b.cfg.Spawn(run) {
		run()
	}
}

// send sends requests together and gives each its answer. If merged is true, those that expect to succeed become parts of one
// transaction, all of which do nothing if one comparison fails. If it is false, they were sent that way before, etcd did nothing,
// and each is nested now. doubt says that an earlier transaction was sent twice, and one of the two may have been carried out.
func (b *Batcher) send(ctx context.Context, all []*request, merged, doubt bool) {
	if len(all) == 1 {
		b.sendOne(ctx, all[0], merged, doubt)
		return
	}
	cmps, ops := combine(all, merged)
	resp, twice, err := b.cfg.Txn(ctx, cmps, ops, nil)
	doubt = doubt || twice && !NotApplied(err)
	switch {
	case errors.Is(err, rpctypes.ErrNoSpace):
		// Perhaps etcd has carried it out. Each goes again alone: what frees space is accepted then.
		for _, r := range all {
			b.isolate(r.Key)
		}
		fail(all, b.failure(ctx, fmt.Errorf("%w: %w", ErrTogether, err), !merged, doubt))
	case etcderr.Contents(err):
		b.Learn(err, len(ops))
		half := len(all) / 2
		b.sendPart(ctx, all[:half], merged, doubt)
		b.sendPart(ctx, all[half:], merged, doubt)
	case err != nil:
		fail(all, b.failure(ctx, err, !merged, doubt))
	case !resp.Succeeded:
		b.lastMiss.Store(clock.Mono())
		b.send(ctx, all, false, doubt)
	default:
		deliver(all, resp, merged, doubt)
	}
}

// sendOne is send for one request.
func (b *Batcher) sendOne(ctx context.Context, r *request, merged, doubt bool) {
	r.Result, r.err = b.Send(ctx, r.Txn)
	r.InDoubt = r.InDoubt || doubt
	if r.err != nil {
		if etcderr.Contents(r.err) {
			b.isolate(r.Key)
		}
		r.err = b.failure(ctx, r.err, !merged, doubt)
	}
	r.answered <- struct{}{}
}

// sendPart is send for a part of a batch, which becomes one of its own: it is cancelled when nobody waits for that part.
func (b *Batcher) sendPart(ctx context.Context, all []*request, merged, doubt bool) {
	n := new(batch)
	n.ctx, n.cancel = context.WithCancel(ctx)
	defer n.cancel()
	b.mu.Lock()
	for _, r := range all {
		if r.batch != nil {
			r.batch = n
			n.waiting++
		}
	}
	if n.waiting == 0 {
		n.cancel()
	}
	b.mu.Unlock()
	b.send(n.ctx, all, merged, doubt)
}

// combine makes one transaction of all.
func combine(all []*request, merged bool) (cmps []clientv3.Cmp, ops []clientv3.Op) {
	n := 0
	for _, r := range all {
		if !merged {
			r.Txn = r.formed(false)
		}
		n += len(r.Then)
	}
	cmps, ops = make([]clientv3.Cmp, 0, n), make([]clientv3.Op, 0, n)
	for _, r := range all {
		if merged && r.ExpectSuccess {
			cmps, ops = append(cmps, r.If...), append(ops, r.Then...)
		} else {
			ops = append(ops, clientv3.OpTxn(r.If, r.Then, r.Else))
		}
	}
	return cmps, ops
}

// deliver gives each request its part of the answer to what combine made.
func deliver(all []*request, resp *clientv3.TxnResponse, merged, doubt bool) {
	rest := resp.Responses
	for _, r := range all {
		r.Result = Result{Succeeded: true, InDoubt: doubt, Revision: resp.Header.Revision}
		if merged && r.ExpectSuccess {
			r.Result.Optimistic = r.Txn.Optimistic
			r.Responses, rest = rest[:len(r.Then):len(r.Then)], rest[len(r.Then):]
		} else {
			own := rest[0].GetResponseTxn()
			r.Succeeded, r.Responses, rest = own.Succeeded, own.Responses, rest[1:]
		}
		r.answered <- struct{}{}
	}
}

// fail gives all requests the error.
func fail(all []*request, err error) {
	for _, r := range all {
		r.err = err
		r.answered <- struct{}{}
	}
}
