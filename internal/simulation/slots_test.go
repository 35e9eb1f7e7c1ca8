package simulation_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// A claim is how an entry is to hold, as its record says: alone if it is zero.
type claim struct {
	shared        bool
	slots, weight int
}

func claimOf(value []byte) claim {
	var r struct {
		Mode          string
		Slots, Weight int
	}
	if json.Unmarshal(value, &r) != nil {
		return claim{}
	}
	return claim{shared: r.Mode == "shared", slots: r.Slots, weight: r.Weight}
}

// with reports whether those who claim c and o may hold together, if there are enough slots.
func (c claim) with(o claim) bool {
	return c.shared && o.shared || c.slots > 0 && c.slots == o.slots
}

// kind is the same for claims that may be held together.
func (c claim) kind() string { return fmt.Sprint(c.shared, c.slots) }

// front returns the entries that may hold a lock: the first, and those behind it that share it, or find slots. The caller holds mu.
func (w *world) front(dir string) []entry {
	q := w.queues[dir]
	if len(q) == 0 {
		return nil
	}
	first := w.place(q[0]).claim
	taken, n := first.weight, 1
	for ; n < len(q); n++ {
		c := w.place(q[n]).claim
		if taken += c.weight; !c.with(first) || taken > first.slots {
			break
		}
	}
	return q[:n]
}

// crowded checks that those who believe in their holds of a lock may do so together. The caller holds mu.
func (w *world) crowded(dir string) {
	var all []entry
	taken := 0
	for _, e := range w.queues[dir] {
		if w.place(e).believed() {
			all, taken = append(all, e), taken+w.place(e).weight
		}
	}
	for i, e := range all {
		if c := w.place(e).claim; i > 0 && !c.with(w.place(all[0]).claim) || taken > c.slots && c.slots > 0 {
			w.Fail("%v are held together, and take %d slots", all, taken)
			return
		}
	}
	if len(all) > 1 && taken > 0 {
		w.stats.together++
	}
}

// manySlots is the number that most callers name.
const manySlots = 3

// slots draws how many slots there are, and how many to take.
func (p worker) slots() []locker.AcquireOption {
	n, weight := manySlots, 1
	if p.Chance(0.1) {
		n = 2
	}
	if p.Chance(0.3) {
		weight = 1 + p.IntN(n)
	}
	return []locker.AcquireOption{locker.Slots(n), locker.Weight(weight)}
}

// work for a while with some slots of k.
func (p worker) takeSlots(ctx context.Context, l *locker.Locker, k keyspace.Key, opts []locker.AcquireOption) error {
	acquire := l.Acquire
	if p.Chance(0.2) {
		acquire = l.TryAcquire
	}
	h, err := acquire(ctx, k, append(opts, p.slots()...)...)
	p.inTime(ctx, err)
	if err != nil {
		return err
	}
	p.w.believe(h)
	if p.Chance(0.2) {
		return p.commitSlots(h)
	}
	for range p.IntN(3) {
		if p.Chance(0.3) {
			p.useFence(h)
		}
		select {
		case <-time.After(p.Span(0, 3*time.Second)):
		case <-h.Context().Done():
		}
	}
	return p.release(p.releasing(), h)
}

// useFence writes under the fence of h: not once etcd has deleted its entry.
func (p worker) useFence(h *locker.Hold) {
	w, e := p.w, entryOf(h.Key(), h.Token())
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	fence := h.Fence()
	if h.Context().Err() == nil { // else it never holds
		w.Mu.Lock()
		w.place(e).fenced = true
		w.Mu.Unlock()
	}
	before := time.Now()
	resp, err := p.Client.Txn(ctx).If(fence).Then(clientv3.OpPut("/fenced/"+h.Key().String(), h.String())).Commit()
	w.Mu.Lock()
	defer w.Mu.Unlock()
	if gone := w.place(e).gone; err == nil && resp.Succeeded && !gone.IsZero() && gone.Before(before) {
		w.Fail("%s: the fence of %v holds, which etcd deleted at %v", p.Name, e, gone.Sub(w.Began))
	}
}

func commitOf(h *locker.Hold) string { return fmt.Sprintf("/commits/%v/%d", h.Key(), h.Token()) }

// commitSlots releases h by a commit that says so.
func (p worker) commitSlots(h *locker.Hold) error {
	w := p.w
	time.Sleep(p.Span(0, 3*time.Second))
	done, err := h.Commit(p.releasing(), nil, clientv3.OpPut(commitOf(h), "done"))
	w.Mu.Lock()
	defer w.Mu.Unlock()
	w.Log("%s: commit under %v: %v, %v", p.Name, entryOf(h.Key(), h.Token()), done, err)
	switch {
	case !errors.Is(err, locker.ErrOutcomeUnknown):
		w.commits[commitOf(h)] = done
	case done:
		w.Fail("%s: done, and %v", p.Name, err)
	}
	return err
}

// settleSlots checks at the end, without faults, that every slot of every lock is free, and which commits are there.
func (w *world) settleSlots() {
	for _, k := range w.keys {
		ctx, cancel := context.WithTimeout(context.Background(), simtest.MaxTTL+time.Minute)
		h, err := w.procs[0].locker().Acquire(ctx, k, locker.Slots(manySlots), locker.Weight(manySlots))
		if err == nil {
			err = h.Release(ctx)
		}
		cancel()
		if err != nil {
			w.Failf("not all slots of %v came back: %v", k, err)
		}
	}
	resp, err := w.Operator.Get(context.Background(), "/commits/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		w.Failf("%v", err)
		return
	}
	there := make(map[string]bool)
	for _, kv := range resp.Kvs {
		there[string(kv.Key)] = true
	}
	w.Mu.Lock()
	defer w.Mu.Unlock()
	for name, done := range w.commits {
		if there[name] != done {
			w.Fail("%s is there: %v, and its commit said %v", name, there[name], done)
		}
	}
}
