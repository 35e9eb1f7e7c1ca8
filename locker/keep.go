package locker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// maxKept is how many locks a Locker keeps at a time.
	maxKept = 1024
	// askPatience is how long a try waits for a process that keeps the lock
	// to say whether it is held.
	askPatience = 250 * time.Millisecond
	// maxGrants is how many holds one entry in etcd serves: their tokens
	// share the bits below the revision.
	maxGrants = 1<<tokenShift - 1
)

// A keeping lets a claim stay in etcd while nobody in this process holds its
// lock, as WithRetain says. Its record says so, to tell those who try that it
// is worth asking; they ask by queueing.
type keeping struct {
	c      *claim
	wanted atomic.Bool  // another process has queued
	since  atomic.Int64 // when it was last kept, by the monotonic clock
	blind  atomic.Int64 // since when nothing tells that the entry is there; 0: a watch does
	ended  chan struct{}

	written int64         // a revision at which nobody else was in the queue
	pen     chan struct{} // full while somebody puts the record again
	unsure  atomic.Bool   // whether that was done
	end     sync.Once
}

// lock lets nobody else put the record of a claim that is kept by k, if it is. It
// fails when ctx is done.
func (k *keeping) lock(ctx context.Context) bool {
	if k == nil {
		return true
	}
	select {
	case k.pen <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// lockSure is lock, and fails too if it is not known what the record is.
func (k *keeping) lockSure(ctx context.Context) bool {
	if !k.lock(ctx) {
		return false
	}
	if k != nil && k.unsure.Load() {
		k.unlock()
		return false
	}
	return true
}

func (k *keeping) unlock() {
	if k != nil {
		<-k.pen
	}
}

// pass gives c away without a word to etcd: to the next goroutine in line, or
// for a while to nobody. ended is called before that.
func (c *claim) pass(ended func()) bool {
	if !c.passable() {
		return false
	}
	next := c.l.lanes.next(c)
	if next != nil && next.want.mode() != c.rec.Mode {
		return false
	}
	if next == nil {
		return c.kept != nil && c.keep(ended)
	}
	if time.Since(c.granted) >= c.l.handoff {
		return false
	}
	ended()
	c.grants++
	return c.l.lanes.hand(c, next)
}

// passable reports whether there may be another hold under c. Others who share
// a lock were let in as they came.
func (c *claim) passable() bool {
	return c.rec.Mode == exclusive && c.grants < maxGrants && c.lease.waits.Err() == nil && c.lease.remaining() > 0 && !c.kept.isWanted()
}

// mayRetain reports whether it is worth a try to keep c: not if it had to wait
// for its lock, which others want, too, then.
func (c *claim) mayRetain() bool { return c.l.retain > 0 && !c.waited }

// retain is pass for a claim that was not kept before. It first says so in
// etcd: else a try elsewhere would take the lock for held.
func (c *claim) retain(ctx context.Context, ended func()) bool {
	l := c.l
	if !c.mayRetain() || c.kept != nil || !c.passable() || l.lanes.waiting(c.key) > 0 {
		return false
	}
	if l.kept.Add(1) > maxKept {
		l.kept.Add(-1)
		return false
	}
	k := &keeping{c: c, ended: make(chan struct{}), pen: make(chan struct{}, 1)}
	if !k.say(ctx, true) || k.wanted.Load() {
		l.kept.Add(-1)
		return false
	}
	k.blind.Store(sinceStart())
	c.kept = k
	return l.spawn(k.run) && c.keep(ended)
}

// keep leaves c to nobody, until it is recalled or taken again.
func (c *claim) keep(ended func()) bool {
	l, k := c.l, c.kept
	ended()
	c.read = nil // old when it is wanted again
	c.grants++
	k.since.Store(sinceStart())
	if !l.lanes.keep(c) {
		return false
	}
	if k.wanted.Load() && l.lanes.recall(c) { // k has stopped looking
		if !l.spawn(func() { c.giveUp(ErrReleased) }) {
			c.done()
		}
	}
	return true
}

func (k *keeping) isWanted() bool { return k != nil && k.wanted.Load() }

// usable reports whether a hold may begin without a word to etcd.
func (k *keeping) usable() bool {
	if k == nil {
		return true // passed on in its term
	}
	blind := k.blind.Load()
	return !k.wanted.Load() && (blind == 0 || sinceStart()-blind < int64(maxHandoff))
}

func sinceStart() int64 { return int64(time.Since(start)) }

// stop ends k, if there is one.
func (k *keeping) stop() {
	if k != nil {
		k.end.Do(func() {
			close(k.ended)
			k.c.l.kept.Add(-1)
		})
	}
}

// run gives the claim up when another process queues, when it was kept for
// long enough, and when the Locker shuts down.
func (k *keeping) run() {
	l := k.c.l
	f := l.directory(k.c.dir)
	defer f.leave()
	timer := time.NewTimer(l.retain)
	defer timer.Stop()
	for {
		f.mu.Lock()
		news, from, came, gone := f.news, f.from, f.came, f.gone[k.c.name] > k.c.rev
		f.mu.Unlock()
		switch {
		case k.wanted.Load():
		case from == 0:
			k.blind.CompareAndSwap(0, sinceStart())
		case from <= k.written: // the watch has missed nobody who came since then
			k.blind.Store(0)
		case k.say(k.c.lease.ctx, true):
			continue
		default:
			timer.Reset(maxWake) // then again
		}
		switch {
		case gone:
			k.wanted.Store(true)
			k.recall()
			return
		case came != nil && came.CreateRevision > k.c.rev && string(came.Key) != k.c.name:
			k.wanted.Store(true)
		}
		if k.wanted.Load() {
			if !k.recall() && l.drain.Err() == nil {
				k.say(k.c.lease.ctx, false)
			}
			return
		}
		select {
		case <-k.ended:
			return
		case <-news:
		case <-l.drain.Done():
			k.wanted.Store(true)
		case <-timer.C:
			left := l.retain - time.Duration(sinceStart()-k.since.Load())
			if left <= 0 && k.recall() {
				return
			}
			timer.Reset(max(left, l.retain/8, time.Millisecond))
		}
	}
}

// say writes into the record whether the lock is perhaps only kept. It notes
// whether others wait, and reports whether etcd has answered.
func (k *keeping) say(ctx context.Context, kept bool) bool {
	c := k.c
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if !k.lock(ctx) {
		return false
	}
	defer k.unlock()
	a, err := c.l.batch.commit(ctx, txn{
		key:  c.key,
		cmps: []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(c.name), "=", c.mod)}, // not Evict's mark
		then: []clientv3.Op{
			c.rewrite(kept),
			clientv3.OpGet(c.dir, clientv3.WithPrefix(), clientv3.WithCountOnly()),
		},
	})
	if err != nil {
		k.unsure.Store(!refused(err))
		return false
	}
	if a.succeeded {
		c.mod, k.written = a.rev, a.rev
	}
	if !a.succeeded || a.responses[1].GetResponseRange().Count > 1 {
		k.wanted.Store(true)
	}
	return true
}

// rewrite puts c's record again, which says whether the lock is perhaps only kept.
func (c *claim) rewrite(kept bool) clientv3.Op {
	r := c.rec
	r.Kept = kept
	return clientv3.OpPut(c.name, string(r.encode()), clientv3.WithIgnoreLease())
}

// recall gives the claim up unless somebody here holds its lock.
func (k *keeping) recall() bool {
	c := k.c
	if !c.l.lanes.recall(c) {
		return false
	}
	c.giveUp(ErrReleased)
	return true
}

// perhapsKept reports whether the lock of that entry may be held by nobody.
func perhapsKept(kv *mvccpb.KeyValue) bool {
	r, ok := parseRecord(kv.Value)
	return ok && r.Kept
}

// ask queues behind a process that perhaps only keeps the lock, and waits for it
// to give it up or to say that it holds it. It is for a try.
func (c *claim) ask(ctx, write context.Context) error {
	if c.rev == 0 {
		if err := c.enter(write, false); err != nil {
			return err
		}
		if !c.first() {
			c.read = nil
		}
	}
	until := time.Now().Add(askPatience)
	for wait := time.Millisecond; !c.first(); wait = pause(ctx, wait) {
		ahead := c.place.nearest()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case ahead != nil && (len(c.place.ahead) > 1 || !perhapsKept(ahead)), time.Now().After(until):
			c.place.n = 0
			return nil
		}
		if err := c.look(ctx); err != nil {
			return err
		}
	}
	return nil
}

// giveUp removes c from etcd, in the background if need be, and then opens the
// lane.
func (c *claim) giveUp(cause error) {
	ctx, cancel := context.WithTimeout(c.lease.ctx, patience)
	defer cancel()
	if _, err := c.remove(ctx); err != nil {
		c.settle(cause, func() {})
		return
	}
	c.done()
}
