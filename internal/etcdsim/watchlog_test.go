package etcdsim_test

import (
	"context"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// A watchLog is a stream of watches, and all that came of each.
type watchLog struct {
	stream grpc.BidiStreamingClient[pb.WatchRequest, pb.WatchResponse]
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	byID    map[int64][]*pb.WatchResponse
	changed chan struct{} // closed and replaced with each response
}

func newWatchLog(t *rapid.T, conn grpc.ClientConnInterface) *watchLog {
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := pb.NewWatchClient(conn).Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	w := &watchLog{
		stream:  stream,
		cancel:  cancel,
		done:    make(chan struct{}),
		byID:    make(map[int64][]*pb.WatchResponse),
		changed: make(chan struct{}),
	}
	go w.read()
	return w
}

func (w *watchLog) read() {
	defer close(w.done)
	for {
		resp, err := w.stream.Recv()
		if err != nil {
			return
		}
		normalize(resp)
		w.mu.Lock()
		w.byID[resp.WatchId] = append(w.byID[resp.WatchId], resp)
		close(w.changed)
		w.changed = make(chan struct{})
		w.mu.Unlock()
	}
}

func (w *watchLog) close() {
	w.cancel()
	<-w.done
}

func (w *watchLog) of(id int64) []*pb.WatchResponse {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.byID[id]
}

func (w *watchLog) send(t *rapid.T, r *pb.WatchRequest) {
	if err := w.stream.Send(r); err != nil {
		t.Fatal(err)
	}
}

// await waits until ready, for d at most.
func (w *watchLog) await(d time.Duration, ready func() bool) bool {
	limit := time.After(d)
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		if ready() {
			return true
		}
		select {
		case <-changed:
		case <-limit:
			return false
		}
	}
}

// long is more than anything takes that happens at all.
const long = 10 * time.Second

func (p *pair) watch(r *pb.WatchCreateRequest) {
	past := r.StartRevision > 0 && r.StartRevision <= p.g.rev
	for past && p.g.rev < p.farthest {
		p.mark() // so that all watches have begun, and etcd tells progress
	}
	req := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}
	var created [2]*pb.WatchResponse
	for i, s := range p.sides {
		seen := s.watches.created()
		s.watches.send(p.t, req)
		if !s.watches.await(long, func() bool { return len(s.watches.created()) > len(seen) }) {
			p.t.Fatalf("%s does not create %v", sideNames[i], text(r))
		}
		created[i] = newest(s.watches.created(), seen)
	}
	if !proto.Equal(created[0], created[1]) {
		p.t.Fatalf("%v\netcd:  %v\nmodel: %v", text(r), text(created[0]), text(created[1]))
	}
	if created[0].Canceled {
		return
	}
	p.farthest = max(p.farthest, r.StartRevision)
	if past {
		p.catchUp(created[0].WatchId)
	}
}

// created returns the created notices of all watches.
func (w *watchLog) created() (all []*pb.WatchResponse) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, rs := range w.byID {
		for _, r := range rs {
			if r.Created {
				all = append(all, r)
			}
		}
	}
	return all
}

func newest(all, seen []*pb.WatchResponse) *pb.WatchResponse {
	old := make(map[*pb.WatchResponse]bool)
	for _, r := range seen {
		old[r] = true
	}
	for _, r := range all {
		if !old[r] {
			return r
		}
	}
	return nil
}

// catchUp waits until a watch from the past has got what there is, or is told that it is gone: when etcd serves it depends
// on the time, and what it then gets on what has been written meanwhile. A progress notice says that no watch of the stream is behind.
func (p *pair) catchUp(id int64) {
	for i, s := range p.sides {
		w := s.watches
		compacted := func() bool {
			rs := w.of(id)
			return rs[len(rs)-1].CompactRevision != 0
		}
		n := len(w.of(-1))
		progress := func() bool { return len(w.of(-1)) > n || compacted() }
		for deadline := time.Now().Add(long); !w.await(10*time.Millisecond, progress); {
			if time.Now().After(deadline) {
				p.t.Fatalf("%s does not serve watch %d: %v", sideNames[i], id, w.of(id))
			}
			w.send(p.t, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
		}
		if compacted() {
			p.cancelOn(i, id) // while it is there, the stream has no progress
		}
	}
}

func (p *pair) cancelWatch(id int64) {
	p.barrier()
	for i := range p.sides {
		p.cancelOn(i, id)
	}
}

// cancelOn cancels a watch if there is one.
func (p *pair) cancelOn(i int, id int64) {
	w := p.sides[i].watches
	cancelled := func() bool {
		rs := w.of(id)
		return len(rs) == 0 || rs[len(rs)-1].Canceled && rs[len(rs)-1].CompactRevision == 0
	}
	if cancelled() {
		return
	}
	w.send(p.t, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
	if !w.await(long, cancelled) {
		p.t.Fatalf("%s does not cancel watch %d", sideNames[i], id)
	}
}

// mark writes the key that the first watch is for. No alarm may refuse that.
func (p *pair) mark() {
	p.clearAlarms()
	r := &pb.PutRequest{Key: []byte(p.g.prefix + "~")}
	p.both(r, func(ctx context.Context, s side) (proto.Message, error) { return s.kv.Put(ctx, r) })
}

// barrier waits until all watches were told of what has been written. The mark is made twice: etcd tells the
// watches of one revision in any order.
func (p *pair) barrier() {
	p.mark()
	p.mark()
	for i, s := range p.sides {
		if !s.watches.await(long, func() bool { return revision(s.watches.of(0)) == p.g.rev }) {
			p.t.Fatalf("%s does not tell of revision %d", sideNames[i], p.g.rev)
		}
	}
}

// compareWatches compares all that the watches got.
func (p *pair) compareWatches() {
	p.barrier()
	var logs [2]map[int64][]*pb.WatchResponse
	for i, s := range p.sides {
		logs[i] = s.watches.before(p.g.rev)
	}
	for id := range logs[0] {
		if logs[1][id] == nil {
			p.t.Fatalf("watch %d is not in the model", id)
		}
	}
	for id := range logs[1] {
		etcd, model := logs[0][id], logs[1][id]
		for i := range max(len(etcd), len(model)) {
			if i >= len(etcd) || i >= len(model) || !proto.Equal(etcd[i], model[i]) {
				p.t.Fatalf("watch %d, response %d of %d and %d\netcd:  %v\nmodel: %v", id, i, len(etcd), len(model), at(etcd, i), at(model, i))
			}
		}
	}
}

// revision is that of the newest response.
func revision(rs []*pb.WatchResponse) int64 {
	if len(rs) == 0 {
		return 0
	}
	return rs[len(rs)-1].Header.Revision
}

// before returns what the watches were told of before rev.
func (w *watchLog) before(rev int64) map[int64][]*pb.WatchResponse {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make(map[int64][]*pb.WatchResponse)
	for id, rs := range w.byID {
		for _, r := range rs {
			if id >= 0 && r.Header.Revision < rev {
				all[id] = append(all[id], r)
			}
		}
	}
	return all
}

func at(rs []*pb.WatchResponse, i int) string {
	if i >= len(rs) {
		return "nothing"
	}
	return text(rs[i])
}
