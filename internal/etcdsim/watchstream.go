package etcdsim

import (
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// noWatch is the id where there is no watch, or where all of a stream are meant.
const noWatch = -1

// A watchStream is the server's end of a stream of watches. The Sim's mutex guards it.
type watchStream struct {
	s        *Sim
	st       *stream
	next     int64
	watchers map[int64]*watcher
}

func (ws *watchStream) send(r *pb.WatchResponse) { ws.st.send(r) }

func (ws *watchStream) receive(msg any) {
	ws.s.mu.Lock()
	defer ws.s.mu.Unlock()
	if ws.s.ctx.Err() != nil {
		return
	}
	switch r := msg.(*pb.WatchRequest).RequestUnion.(type) {
	case *pb.WatchRequest_CreateRequest:
		ws.create(r.CreateRequest)
	case *pb.WatchRequest_CancelRequest:
		ws.cancel(r.CancelRequest.GetWatchId())
	case *pb.WatchRequest_ProgressRequest:
		ws.progress()
	}
}

func (ws *watchStream) create(r *pb.WatchCreateRequest) {
	key := r.Key
	if len(key) == 0 {
		key = []byte{0}
	}
	sp := spanOf(key, r.RangeEnd)
	id := r.WatchId
	var refused error
	if r.StartRevision >= 0 { // else etcd does not look at the token
		refused = ws.s.auth.check(ws.st.token)
	}
	switch {
	case r.StartRevision < 0:
		ws.refuse(rpctypes.ErrCompacted.Error())
		return
	case refused != nil:
		ws.refuse(refused.Error())
		return
	case !sp.single && !sp.open && sp.key >= sp.end:
		ws.refuse("mvcc: watcher range is empty")
		return
	case id != 0 && ws.watchers[id] != nil:
		ws.refuse("mvcc: duplicate watch ID provided on the WatchStream")
		return
	}
	if id == 0 {
		for ws.watchers[ws.next] != nil {
			ws.next++
		}
		id = ws.next
		ws.next++
	}
	w := &watcher{
		stream:   ws,
		id:       id,
		span:     sp,
		start:    r.StartRevision,
		noPut:    slices.Contains(r.Filters, pb.WatchCreateRequest_NOPUT),
		noDelete: slices.Contains(r.Filters, pb.WatchCreateRequest_NODELETE),
		prevKV:   r.PrevKv,
	}
	ws.watchers[id] = w
	ws.send(&pb.WatchResponse{Header: ws.s.header(), WatchId: id, Created: true})
	ws.s.watches.add(ws.s, w)
}

func (ws *watchStream) refuse(reason string) {
	ws.send(&pb.WatchResponse{Header: ws.s.header(), WatchId: noWatch, Created: true, Canceled: true, CancelReason: reason})
}

func (ws *watchStream) cancel(id int64) {
	w := ws.watchers[id]
	if w == nil {
		return
	}
	delete(ws.watchers, id)
	ws.s.watches.remove(w)
	ws.send(&pb.WatchResponse{Header: ws.s.header(), WatchId: id, Canceled: true})
}

// progress answers only if no watch of the stream is behind.
func (ws *watchStream) progress() {
	for _, w := range ws.watchers {
		if !slices.Contains(ws.s.watches.synced, w) || ws.s.rev < w.start {
			return
		}
	}
	if len(ws.watchers) > 0 {
		ws.send(&pb.WatchResponse{Header: ws.s.header(), WatchId: noWatch})
	}
}

// closeSend does nothing: etcd keeps a stream of watches until the client's context ends.
func (ws *watchStream) closeSend() {}

func (ws *watchStream) close() {
	ws.s.mu.Lock()
	defer ws.s.mu.Unlock()
	for _, w := range ws.watchers {
		ws.s.watches.remove(w)
	}
	clear(ws.watchers)
}
