package etcdsim

import (
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

const (
	// slowTick is how often etcd serves the watches that are behind.
	slowTick = 100 * time.Millisecond
	// slowBatch is how many revisions it serves them at once.
	slowBatch = 1000
)

// A watcher is one watch in etcd.
type watcher struct {
	stream   *watchStream
	id       int64
	span     span
	start    int64 // as asked for
	next     int64 // the first revision it has not seen
	noPut    bool
	noDelete bool
	prevKV   bool
}

// watches are all watchers. Those in synced have seen all there is; those in slow are behind, and served by a timer.
type watches struct {
	synced, slow []*watcher // in order of creation, so that every run is alike
	timer        *time.Timer
}

func (ws *watches) add(s *Sim, w *watcher) {
	if w.start == 0 || w.start > s.rev {
		w.next = max(w.start, s.rev+1)
		ws.synced = append(ws.synced, w)
		return
	}
	w.next = w.start
	ws.slow = append(ws.slow, w)
	ws.schedule(s)
}

func (ws *watches) schedule(s *Sim) {
	if len(ws.slow) > 0 && ws.timer == nil {
		ws.timer = time.AfterFunc(slowTick, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			ws.timer = nil
			if s.ctx.Err() == nil {
				ws.catchUp(s)
			}
		})
	}
}

func (ws *watches) stop() {
	if ws.timer != nil {
		ws.timer.Stop()
	}
}

func (ws *watches) remove(w *watcher) {
	same := func(x *watcher) bool { return x == w }
	ws.synced = slices.DeleteFunc(ws.synced, same)
	ws.slow = slices.DeleteFunc(ws.slow, same)
}

// notify tells the watchers that are not behind of the changes of one revision.
func (ws *watches) notify(s *Sim, changes []change) {
	rev := changes[0].kv.ModRevision
	for _, w := range ws.synced {
		w.tell(s, changes, rev)
	}
}

// catchUp serves the watchers that are behind.
func (ws *watches) catchUp(s *Sim) {
	slow := ws.slow
	ws.slow = nil
	for _, w := range slow {
		if w.next < s.compacted {
			w.stream.send(&pb.WatchResponse{Header: s.headerAt(0), WatchId: w.id, Canceled: true, CompactRevision: s.compacted})
			continue
		}
		changes, more := w.batch(s.since(w.next))
		w.tell(s, changes, s.rev)
		if more != 0 {
			w.next = more
			ws.slow = append(ws.slow, w)
			continue
		}
		w.next = s.rev + 1
		ws.synced = append(ws.synced, w)
	}
	ws.schedule(s)
}

// batch returns those of changes that w is told of at once, and the revision to go on with if these are not all.
func (w *watcher) batch(changes []change) (batch []change, more int64) {
	revs, last := 0, int64(0)
	for _, c := range changes {
		if !w.span.has(string(c.kv.Key)) {
			continue
		}
		if rev := c.kv.ModRevision; rev != last {
			revs++
			last = rev
			if revs > slowBatch {
				return batch, rev
			}
		}
		batch = append(batch, c)
	}
	return batch, 0
}

func (w *watcher) tell(s *Sim, changes []change, rev int64) {
	var events []*mvccpb.Event
	for _, c := range changes {
		unwanted := w.noPut && !c.dead || w.noDelete && c.dead
		if c.kv.ModRevision < w.next || unwanted || !w.span.has(string(c.kv.Key)) {
			continue
		}
		events = append(events, c.event(w.prevKV && c.kv.ModRevision > s.compacted))
	}
	if len(events) > 0 {
		w.stream.send(&pb.WatchResponse{Header: s.headerAt(rev), WatchId: w.id, Events: events})
	}
}

func (c change) event(prev bool) *mvccpb.Event {
	ev := &mvccpb.Event{Type: mvccpb.Event_PUT, Kv: c.kv}
	if c.dead {
		ev.Type = mvccpb.Event_DELETE
	}
	if prev && (c.dead || c.kv.CreateRevision != c.kv.ModRevision) {
		ev.PrevKv = c.prev
	}
	return ev
}
