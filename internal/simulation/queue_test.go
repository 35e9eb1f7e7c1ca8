package simulation_test

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

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
	hold   *locker.Hold // the last one, of those whose owners tell
	held   bool         // as the hooks say
	fenced bool         // a fence is in use
	idle   time.Time    // since when it is the first, and not held
	vandal bool         // somebody is about to delete it by hand
	gone   time.Time    // when it was deleted; zero before that
	forced bool         // by Evict or by hand: its owner hears of it afterwards
}

// place returns what is known of e. The caller holds mu.
func (w *world) place(e entry) *place {
	p := w.places[e]
	if p == nil {
		p = new(place)
		w.places[e] = p
	}
	return p
}

// believed reports whether its owner takes the lock for held.
func (p *place) believed() bool { return p.hold != nil && p.hold.Context().Err() == nil }

// believe is told of a hold by whoever acquired it.
func (w *world) believe(h *locker.Hold) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.place(entryOf(h.Key(), h.Token())).hold = h
}

// committed is told of every change in etcd, before anybody can see it. No hold may be believed in when its entry goes.
func (w *world) committed(rev int64, events []*mvccpb.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ev := range events {
		dir := path.Dir(string(ev.Kv.Key))
		if !strings.HasPrefix(dir, "/elock/") {
			continue
		}
		if ev.Type == mvccpb.Event_PUT {
			if ev.Kv.Version == 1 {
				w.join(entry{dir, rev})
			}
			continue
		}
		e := entry{dir, ev.PrevKv.CreateRevision}
		p := w.place(e)
		p.gone, p.forced = time.Now(), p.vandal || bytes.Contains(ev.PrevKv.Value, []byte(`"evicted":true`))
		w.log("etcd: entry %v deleted, by force %v", e, p.forced)
		if p.believed() && !p.forced {
			w.fail("hold %v is believed in when etcd deletes it", e)
		}
		w.part(e)
	}
}

// join is told of a new entry. The caller holds mu.
func (w *world) join(e entry) {
	w.queues[e.dir] = append(w.queues[e.dir], e)
	first := w.queues[e.dir][0]
	if !w.place(first).held {
		w.expectProgress(first)
	}
}

// part is told of the end of an entry. The caller holds mu.
func (w *world) part(e entry) {
	was := w.first(e)
	q := slices.DeleteFunc(w.queues[e.dir], func(x entry) bool { return x == e })
	w.queues[e.dir] = q
	if was && len(q) > 0 {
		w.expectProgress(q[0])
	}
}

// first reports whether e is the first in its queue. The caller holds mu.
func (w *world) first(e entry) bool {
	q := w.queues[e.dir]
	return len(q) > 0 && q[0] == e
}

// expectProgress checks that an entry that is the first in its queue, and not held from now on, is soon held, or goes if others
// are behind it: else it may be kept. The caller holds mu.
func (w *world) expectProgress(e entry) {
	limit := w.profile.patience()
	if limit == 0 {
		return
	}
	p := w.place(e)
	p.idle = time.Now()
	time.AfterFunc(limit, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.first(e) && (len(w.queues[e.dir]) > 1 || w.profile == lossy) && !p.held && time.Since(p.idle) >= limit {
			w.fail("entry %v is the first for %v, and nobody holds", e, limit)
		}
	})
}

// lost checks a loss that somebody was told of: where nothing is at fault, somebody took the lock. The caller holds mu.
func (w *world) lost(who string, k keyspace.Key, loss *locker.LostError) {
	if w.profile != calm {
		return
	}
	byForce := loss.Reason == locker.Evicted || loss.Reason == locker.KeyDeleted
	if e := entryOf(k, loss.Token); !byForce || !w.place(e).forced {
		w.fail("%s: lost %v without a fault: %v", who, e, loss)
	}
}
