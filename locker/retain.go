package locker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/clock"
	"github.com/phpgao/elock/internal/feed"
	"github.com/phpgao/elock/internal/xctx"
)

// maxRetained is how many locks a Locker retains at a time.
const maxRetained = 1024

// A retention lets an entry stay in etcd while nobody in this process holds its
// lock, as WithRetain says. Its record says so: a TryAcquire elsewhere then
// queues, and that makes the owner give the lock up.
type retention struct {
	e              *entry
	wanted         atomic.Bool  // another process has queued
	since          atomic.Int64 // when its lock was last released, by the monotonic clock
	unwatchedSince atomic.Int64 // when the watch was lost; 0 while it works
	ended          chan struct{}

	written  int64         // the revision of the last publish, which also looked at the queue; of run
	recordMu chan struct{} // full while somebody puts the record again; guards entry.Mod
	inDoubt  atomic.Bool   // it is not known what the record is
	end      sync.Once
}

// lock lets nobody else put the record of an entry that is retained by r, if it is.
// It fails when ctx is done.
func (r *retention) lock(ctx context.Context) bool {
	if r == nil {
		return true
	}
	select {
	case r.recordMu <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// lockSure is lock, and fails too if it is not known what the record is.
func (r *retention) lockSure(ctx context.Context) bool {
	if !r.lock(ctx) {
		return false
	}
	if r != nil && r.inDoubt.Load() {
		r.unlock()
		return false
	}
	return true
}

func (r *retention) unlock() {
	if r != nil {
		<-r.recordMu
	}
}

// mayRetain reports whether it is worth a try to retain e. An entry that had to wait
// is not retained: others want its lock, too.
func (e *entry) mayRetain() bool { return e.l.retain > 0 && !e.waited }

// retain begins to retain an entry that nobody here waits for. It first writes that
// into the record: otherwise a TryAcquire elsewhere would take the lock for held. notify
// is called when that is done. It reports false if the entry is not retained.
func (e *entry) retain(ctx context.Context, notify func()) bool {
	l := e.l
	if !e.mayRetain() || e.retention != nil || !e.passable() || l.lanes.Waiting(e.Key) > 0 {
		return false
	}
	if l.retained.Add(1) > maxRetained {
		l.retained.Add(-1)
		return false
	}
	r := &retention{e: e, ended: make(chan struct{}), recordMu: make(chan struct{}, 1)}
	if !r.publish(ctx, true) || r.wanted.Load() {
		l.retained.Add(-1)
		return false
	}
	r.unwatchedSince.Store(clock.Mono())
	e.retention = r
	return l.spawn(r.run) && e.park(notify)
}

// park leaves e in the lane, from which the next acquire here takes it, or recall.
func (e *entry) park(notify func()) bool {
	l, r := e.l, e.retention
	notify()
	e.Read = nil // too old for the next hold
	e.passed++
	r.since.Store(clock.Mono())
	if !l.lanes.Park(e.Key, e) {
		return false
	}
	if r.wanted.Load() && l.lanes.Recall(e.Key, e) { // r.run has ended
		if !l.spawn(func() { e.giveUp(ErrReleased) }) {
			e.done()
		}
	}
	return true
}

func (r *retention) isWanted() bool { return r != nil && r.wanted.Load() }

// usable reports whether a hold may begin without contacting etcd.
func (r *retention) usable() bool {
	if r == nil {
		return true // it was passed on a moment ago
	}
	since := r.unwatchedSince.Load()
	return !r.wanted.Load() && (since == 0 || clock.Mono()-since < int64(maxHandoff))
}

// stop ends r, if there is one.
func (r *retention) stop() {
	if r != nil {
		r.end.Do(func() {
			close(r.ended)
			r.e.l.retained.Add(-1)
		})
	}
}

// run gives the entry up when another process queues, when it was retained for
// long enough, and when the Locker shuts down.
func (r *retention) run() {
	l := r.e.l
	f := r.e.Feed()
	defer f.Close()
	timer := time.NewTimer(l.retain)
	defer timer.Stop()
	for {
		s := r.look(f)
		if s.gap && !r.wanted.Load() {
			if r.publish(r.e.Lease.Context(), true) {
				continue
			}
			timer.Reset(time.Second) // then again
		}
		if r.wanted.Load() {
			r.surrender(s.gone)
			return
		}
		overdue := false
		select {
		case <-r.ended:
			return
		case <-s.changed:
		case <-l.drain.Done():
			r.wanted.Store(true)
		case <-timer.C:
			overdue = true
		}
		if !overdue {
			continue
		}
		left := l.retain - time.Duration(clock.Mono()-r.since.Load())
		if left <= 0 && r.recall() {
			return
		}
		timer.Reset(max(left, l.retain/8, time.Millisecond))
	}
}

// A sight is what a retention sees of the queue.
type sight struct {
	changed <-chan struct{} // closed when there is more to see
	gap     bool            // somebody may have come between the last look at the queue and the watch
	gone    bool            // the entry was deleted
}

// look looks at what f knows. It notes since when no watch works, and whether
// somebody has come or the entry is gone: then the lock is not retained any more.
func (r *retention) look(f *feed.Feed) sight {
	var known feed.State
	var s sight
	f.Read(func(is feed.State) { known, s.gone = is, is.Deleted(r.e.Name) > r.e.Rev })
	s.changed = known.Changed
	switch {
	case r.wanted.Load():
	case known.Since == 0:
		r.unwatchedSince.CompareAndSwap(0, clock.Mono())
	case known.Since <= r.written:
		r.unwatchedSince.Store(0)
	default:
		s.gap = true
	}
	if s.gone || known.Created.GetCreateRevision() > r.e.Rev && string(known.Created.Key) != r.e.Name {
		r.wanted.Store(true)
	}
	return s
}

// surrender gives the entry up if nobody here holds its lock. Otherwise it writes into
// the record that the lock is held, and the release gives the entry up.
func (r *retention) surrender(gone bool) {
	if !r.recall() && !gone && r.e.l.drain.Err() == nil {
		r.publish(r.e.Lease.Context(), false)
	}
}

// publish writes into the record whether the lock is perhaps only retained. It notes
// whether others wait, and reports whether etcd has answered.
func (r *retention) publish(ctx context.Context, retained bool) bool {
	e := r.e
	ctx, cancel := context.WithTimeout(ctx, xctx.Patience(0))
	defer cancel()
	if !r.lock(ctx) {
		return false
	}
	defer r.unlock()
	a, err := e.l.batch.Commit(ctx, batch.Txn{
		Key: e.Key,
		If:  []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(e.Name), "=", e.Mod)}, // not Evict's mark
		Then: []clientv3.Op{
			e.rewrite(retained),
			clientv3.OpGet(e.Dir, clientv3.WithPrefix(), clientv3.WithCountOnly()),
		},
	})
	if err != nil {
		if !batch.NotApplied(err) {
			r.inDoubt.Store(true) // until one succeeds: no earlier one is carried out any more
		}
		return false
	}
	if a.Succeeded {
		e.Mod, r.written = a.Revision, a.Revision
	}
	r.inDoubt.Store(!a.Succeeded) // Evict has marked it, or this put was sent twice
	if !a.Succeeded || a.Responses[1].GetResponseRange().Count > 1 {
		r.wanted.Store(true)
	}
	return true
}

// rewrite puts e's record again, which says whether the lock is perhaps only retained.
func (e *entry) rewrite(retained bool) clientv3.Op {
	r := e.Record
	r.Retained = retained
	return clientv3.OpPut(e.Name, string(r.Encode()), clientv3.WithIgnoreLease())
}

// recall gives the entry up unless somebody here holds its lock.
func (r *retention) recall() bool {
	e := r.e
	if !e.l.lanes.Recall(e.Key, e) {
		return false
	}
	e.giveUp(ErrReleased)
	return true
}

// giveUp removes e from etcd, in the background if need be, and then opens the
// lane.
func (e *entry) giveUp(cause error) {
	w := e.l.etcd.Detached(e.Lease.Context())
	defer w.Stop()
	if _, err := e.Leave(w); err != nil {
		e.settle(cause, func() {})
		return
	}
	e.done()
}
