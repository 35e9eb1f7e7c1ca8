package simulation_test

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// An entry is a key in the queue of a lock.
type entry struct {
	dir string // of the lock
	rev int64  // the create revision
}

func (e entry) String() string { return fmt.Sprintf("%s#%d", e.dir, e.rev) }

// entryOf is the entry of a hold.
func entryOf(k keyspace.Key, t locker.Token) entry {
	return entry{path.Clean(k.Path("elock")), int64(t >> 16)}
}

// A place is what is known of an entry.
type place struct {
	claim
	holds     []anyHold             // those whose owners tell, the last one if it is not shared
	held      int                   // how many hold it, as the hooks say
	tokens    map[locker.Token]bool // of its holds
	fenced    bool                  // a fence is in use
	idle      time.Time             // since when it is the first, and not held
	vandal    bool                  // somebody is about to delete it by hand
	gone      time.Time             // when it was deleted; zero before that
	since     time.Time             // of its last hold
	stay      stay                  // it is to stay, as AtLeast says
	listening []anyHold             // those that hear of requests
	heeds     time.Time             // when the last of them began to
	asked     time.Time             // when somebody asked for it first; zero: nobody has
	marked    bool                  // as evicted; what is moved then loses the mark
	forced    bool                  // by Evict or by hand: its owner hears of it afterwards
}

// place returns what is known of e. The caller holds mu.
func (w *world) place(e entry) *place {
	p := w.places[e]
	if p == nil {
		p = &place{tokens: make(map[locker.Token]bool)}
		w.places[e] = p
	}
	return p
}

// believed reports whether an owner takes the lock for held.
func (p *place) believed() bool {
	return slices.ContainsFunc(p.holds, func(h anyHold) bool { return h.Context().Err() == nil })
}

// believe is told of a hold by whoever acquired it.
func (w *world) believe(h anyHold) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	for k, token := range tokensOf(h) {
		p := w.place(entryOf(k, token))
		if !p.shared {
			p.holds = nil
		}
		p.holds = append(p.holds, h)
		if !p.gone.IsZero() && !p.forced && p.believed() {
			w.Fail("hold %v is believed in after etcd has deleted it", entryOf(k, token))
		}
		w.crowded(entryOf(k, token).dir)
	}
	go w.expectWarning(h, h.AtRisk(), time.Now())
}

// expectWarning checks that a hold since then is not lost for want of renewals before its channel said that it is at risk.
func (w *world) expectWarning(h anyHold, risk <-chan struct{}, since time.Time) {
	for warned := false; ; warned = true {
		<-risk
		err := h.Err()
		loss, lost := errors.AsType[*locker.LostError](err)
		switch {
		case !warned && lost && loss.Reason == locker.ReasonDeadline && time.Since(since) > w.lateness():
			w.Failf("%v was not at risk before it was lost", tokensOf(h))
			return
		case err != nil || h.Context().Err() != nil:
			return
		case w.Profile == simtest.Calm:
			w.Failf("%v is at risk without a fault", tokensOf(h))
		}
		select {
		case <-h.Context().Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
		left := h.Remaining()
		next := h.AtRisk()
		if next == risk && left > simtest.MaxTTL/3 && h.Err() == nil {
			w.Failf("%v is at risk with %v left", tokensOf(h), left)
			return
		}
		if next != risk {
			go w.expectWarning(h, next, time.Now())
			return
		}
	}
}

// committed is told of every change in etcd, before anybody can see it. No hold may be believed in when its entry goes.
func (w *world) committed(rev int64, events []*mvccpb.Event) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	for _, ev := range events {
		dir := path.Dir(string(ev.Kv.Key))
		if !strings.HasPrefix(dir, "/elock/") {
			continue
		}
		if ev.Type == mvccpb.Event_PUT {
			if ev.Kv.Version == 1 && ev.Kv.Lease != 0 { // else it is a value
				e := entry{dir, rev}
				w.place(e).claim = claimOf(ev.Kv.Value)
				w.join(e)
			}
			if e := (entry{dir, ev.Kv.CreateRevision}); bytes.Contains(ev.Kv.Value, []byte(`"evicted":true`)) {
				w.place(e).marked = true
			} else if ev.Kv.Version > 1 && bytes.Contains(ev.Kv.Value, []byte(`"request":`)) {
				w.isAsked(e)
			} else if ev.Kv.Version > 1 && bytes.Contains(ev.Kv.Value, []byte(`"turn":`)) {
				w.isTold(e)
			}
			continue
		}
		e := entry{dir, ev.PrevKv.CreateRevision}
		p := w.place(e)
		p.gone, p.forced = time.Now(), p.vandal || w.unmarked(dir) || p.marked
		w.Log("etcd: entry %v deleted, by force %v", e, p.forced)
		evicted := time.Since(w.evicted[dir]) < 15*time.Second // what is moved loses its mark
		if time.Now().Before(p.stay.until) && p.stay.promised(w) && !p.forced && !evicted {
			w.Fail("entry %v, which is to stay, is gone %v too early", e, time.Until(p.stay.until))
		}
		if p.believed() && !p.forced {
			w.Fail("hold %v is believed in when etcd deletes it", e)
		}
		if p.forced && w.Profile == simtest.Calm {
			time.AfterFunc(told, func() { w.expectEnd(e) })
		}
		w.part(e)
	}
}

// isTold is for an entry that is told its turn. The caller holds mu.
func (w *world) isTold(e entry) {
	w.stats.turns++
	if queue := w.queues[e.dir]; len(queue) == 0 || queue[0] != e {
		w.Fail("entry %v is told its turn, and is not the first of %v", e, queue)
	}
}

// told is how soon owners learn that their lock was taken, where nothing is at fault: within 2 seconds, which a reading ends.
const told = 2500 * time.Millisecond

func (w *world) expectEnd(e entry) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	if w.place(e).believed() {
		w.Fail("hold %v is believed in %v after it was taken", e, told)
	}
}

// join is told of a new entry. The caller holds mu.
func (w *world) join(e entry) {
	w.queues[e.dir] = append(w.queues[e.dir], e)
	for _, e := range w.front(e.dir) {
		if w.place(e).held == 0 {
			w.expectProgress(e)
		}
	}
}

// part is told of the end of an entry. The caller holds mu.
func (w *world) part(e entry) {
	before := w.front(e.dir)
	w.queues[e.dir] = slices.DeleteFunc(slices.Clone(w.queues[e.dir]), func(x entry) bool { return x == e })
	for _, x := range w.front(e.dir) {
		if !slices.Contains(before, x) {
			w.expectProgress(x)
		}
	}
}

// first reports whether e may hold its lock. The caller holds mu.
func (w *world) first(e entry) bool { return slices.Contains(w.front(e.dir), e) }

// expectProgress checks that an entry that is the first in its queue, and not held from now on, is soon held, or goes if others
// are behind it: else it may be kept. The caller holds mu.
func (w *world) expectProgress(e entry) {
	limit := w.patience()
	if limit == 0 {
		return
	}
	p := w.place(e)
	p.idle = time.Now()
	time.AfterFunc(limit, func() {
		w.Mu.Lock()
		defer w.Mu.Unlock()
		if left := time.Until(p.stay.until) + maxLonger; left > 0 && w.first(e) {
			time.AfterFunc(left, func() {
				w.Mu.Lock()
				defer w.Mu.Unlock()
				if p.held == 0 {
					w.expectProgress(e)
				}
			})
			return
		}
		if w.first(e) && (len(w.queues[e.dir]) > 1 || w.Profile == simtest.Lossy) && p.held == 0 && time.Since(p.idle) >= limit {
			w.Fail("entry %v is the first for %v, and nobody holds", e, limit)
		}
	})
}

// lost checks a loss that somebody was told of: where nothing is at fault, somebody took the lock. The caller holds mu.
func (w *world) lost(who string, k keyspace.Key, loss *locker.LostError) {
	if w.Profile != simtest.Calm {
		return
	}
	byForce := loss.Reason == locker.ReasonEvicted || loss.Reason == locker.ReasonKeyDeleted
	forced := slices.ContainsFunc(w.keys, func(k keyspace.Key) bool { // of several locks, perhaps another
		p := w.places[entryOf(k, loss.Token)]
		return p != nil && p.forced
	})
	if !byForce || !forced {
		w.Fail("%s: lost %v without a fault: %v", who, k, loss)
	}
}
