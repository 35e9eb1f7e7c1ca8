package simulation_test

import (
	"context"
	"errors"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// hold does what one does under a lock: some updates of a register, for a short or a very long time.
func (p worker) hold(h anyHold, k keyspace.Key) {
	w := p.w
	w.believe(h)
	if p.Chance(0.5) {
		w.listens(h)
	}
	for range p.IntN(4) {
		if !p.update(h, k) {
			return
		}
		pause := p.Span(0, 2*time.Second)
		if p.Chance(0.05) {
			pause = maxHeld + 3*time.Second
		}
		select {
		case <-time.After(pause):
		case <-h.Context().Done():
			if p.Chance(0.5) {
				p.update(h, k) // one more, though it knows better: the fence must stop it
			}
			return
		}
	}
}

// read reads the register of k twice, each time under the fence of a shared hold: nobody may have written between.
func (p worker) read(h *locker.Hold, k keyspace.Key) {
	p.w.believe(h)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var reads []int64
	for range 2 {
		resp, err := p.Client.Txn(ctx).If(h.Fence()).Then(clientv3.OpGet(register(k))).Commit()
		if err != nil || !resp.Succeeded {
			return
		}
		var mod int64
		for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
			mod = kv.ModRevision
		}
		reads = append(reads, mod)
		select {
		case <-time.After(p.Span(0, 2*time.Second)):
		case <-h.Context().Done():
		}
	}
	if reads[0] != reads[1] {
		p.w.Failf("%s: somebody wrote %s while %v was shared", p.Name, register(k), entryOf(k, tokensOf(h)[k]))
	}
}

func value(k keyspace.Key) string { return k.ValuePath("elock") }

// commit adds one to the value of k in the transaction that releases it.
func (p worker) commit(ctx context.Context, l *locker.Locker, k keyspace.Key) error {
	w := p.w
	opts, d := []locker.AcquireOption{locker.ReadKeys(value(k))}, time.Duration(0)
	if p.Chance(0.3) {
		d = p.Span(time.Millisecond, maxStay)
		opts = append(opts, locker.AtLeast(d))
	}
	h, err := l.Acquire(ctx, k, opts...)
	p.inTime(ctx, err)
	if err != nil {
		return err
	}
	if d > 0 {
		w.stays(h, d)
	}
	w.believe(h)
	n, mod := 0, int64(0)
	if kv := h.Read()[0]; kv != nil {
		n, mod = atoi(kv.Value), kv.ModRevision
	}
	time.Sleep(p.Span(0, 3*time.Second))
	done, err := h.Commit(ctx, []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(value(k)), "=", mod)}, clientv3.OpPut(value(k), strconv.Itoa(n+1)))
	if done && d > 0 {
		p.confirmed(h, l)
	}
	w.Mu.Lock()
	defer w.Mu.Unlock()
	w.stats.updates++
	w.Log("%s: commit of %v to %d under %v: %v, %v", p.Name, k, n+1, entryOf(k, h.Token()), done, err)
	switch {
	case done:
		w.acked[value(k)]++
	case errors.Is(err, locker.ErrOutcomeUnknown):
		w.unknown[value(k)]++
	case err == nil:
		w.Fail("%s: the value of %v changed under %v", p.Name, k, entryOf(k, tokensOf(h)[k]))
	}
	return err
}

func register(k keyspace.Key) string { return "/register/" + k.String() }

// update adds one to the register of k, with what was read, if the lock is still held when etcd writes. It reports whether
// another update under the same hold may follow: not after one that may yet be written, which the fence would let pass.
func (p worker) update(h anyHold, k keyspace.Key) bool {
	w := p.w
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	resp, err := p.Client.Get(ctx, register(k))
	if err != nil {
		return false
	}
	n := 0
	if len(resp.Kvs) == 1 {
		n = atoi(resp.Kvs[0].Value)
	}
	time.Sleep(p.Span(0, time.Second))
	fences := fencesOf(h)
	if h.Context().Err() == nil { // else they never hold
		w.Mu.Lock()
		for k, token := range tokensOf(h) {
			w.place(entryOf(k, token)).fenced = true
		}
		w.Mu.Unlock()
	}
	done, err := p.Client.Txn(ctx).If(fences...).Then(clientv3.OpPut(register(k), strconv.Itoa(n+1))).Commit()
	w.Mu.Lock()
	defer w.Mu.Unlock()
	w.stats.updates++
	switch {
	case err != nil:
		w.unknown[register(k)]++
		w.Log("%s: update of %v to %d: %v", p.Name, k, n+1, err)
	case done.Succeeded:
		w.acked[register(k)]++
		w.Log("%s: update of %v to %d under %v", p.Name, k, n+1, entryOf(k, tokensOf(h)[k]))
	}
	return err == nil
}

func atoi(b []byte) int {
	n, _ := strconv.Atoi(string(b))
	return n
}
