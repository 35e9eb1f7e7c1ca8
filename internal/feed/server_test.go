package feed

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
)

// A server is etcd behind a clientv3.Watcher. A watch is on the stream that its context names.
type server struct {
	mu        sync.Mutex
	rev       int64
	compacted int64
	log       []*clientv3.Event
	watches   []*remote
	names     []string // all that there were
	opened    int      // watches that were asked for
	asked     int      // requests for progress

	mute    map[string]bool // streams that say nothing
	silent  bool            // all streams are mute
	refuse  bool            // watches end before they are in place
	brief   bool            // watches end as soon as they are in place
	dead    bool            // watches end with the error of a dead token, once they are in place
	noProbe bool            // requests for progress are not answered
	hangs   bool            // watches that their callers end stay open, as those of a client that hangs
	latency time.Duration   // of the answer to a watch
}

// A remote is a watch on the server.
type remote struct {
	stream   string
	key, end string
	ch       chan clientv3.WatchResponse
	ended    bool
}

func (s *server) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	op := clientv3.OpGet(key, opts...)
	w := &remote{stream: streamOf(ctx), key: key, end: string(op.RangeBytes()), ch: make(chan clientv3.WatchResponse, 100)}
	s.mu.Lock()
	s.opened++
	if !slices.Contains(s.names, w.stream) {
		s.names = append(s.names, w.stream)
	}
	mute, latency := s.silent || s.mute[w.stream], s.latency
	s.mu.Unlock()
	if mute {
		<-ctx.Done()
	}
	time.Sleep(latency)
	s.mu.Lock()
	defer s.mu.Unlock()
	if mute || s.refuse || ctx.Err() != nil {
		close(w.ch)
		return w.ch
	}
	w.send(s.response(clientv3.WatchResponse{Created: true}))
	switch rev := op.Rev(); {
	case s.brief:
		w.ended = true
		close(w.ch)
		return w.ch
	case s.dead:
		w.finish(s.response(clientv3.WatchResponse{Canceled: true, CancelReason: "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"}))
		return w.ch
	case rev != 0 && rev < s.compacted:
		w.finish(s.response(clientv3.WatchResponse{Canceled: true, CompactRevision: s.compacted}))
		return w.ch
	case rev != 0:
		for _, ev := range s.log {
			if ev.Kv.ModRevision >= rev && w.wants(ev) {
				w.send(s.response(clientv3.WatchResponse{Events: []*clientv3.Event{ev}}))
			}
		}
	}
	s.watches = append(s.watches, w)
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.hangs {
			s.end(w)
		}
	})
	return w.ch
}

func (s *server) response(r clientv3.WatchResponse) clientv3.WatchResponse {
	r.Header = &pb.ResponseHeader{Revision: s.rev}
	return r
}

// end closes a watch. The caller holds mu.
func (s *server) end(w *remote) {
	if !w.ended {
		w.ended = true
		close(w.ch)
		s.watches = slices.DeleteFunc(s.watches, func(o *remote) bool { return o == w })
	}
}

func (w *remote) send(r clientv3.WatchResponse) { w.ch <- r }

func (w *remote) finish(r clientv3.WatchResponse) {
	w.send(r)
	w.ended = true
	close(w.ch)
}

func (w *remote) wants(ev *clientv3.Event) bool {
	key := string(ev.Kv.Key)
	return key == w.key || w.end != "" && w.key <= key && key < w.end
}

func (s *server) RequestProgress(ctx context.Context) error {
	s.mu.Lock()
	s.asked++
	mute := s.silent || s.mute[streamOf(ctx)]
	s.mu.Unlock()
	if mute {
		<-ctx.Done()
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watches {
		if !s.noProbe && w.stream == streamOf(ctx) {
			w.send(s.response(clientv3.WatchResponse{}))
		}
	}
	return nil
}

func (s *server) Close() error { return nil }

// change puts or deletes a key, tells all watches, and returns the revision.
func (s *server) change(typ mvccpb.Event_EventType, key string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rev++
	kv := &mvccpb.KeyValue{Key: []byte(key), ModRevision: s.rev}
	if typ == mvccpb.PUT {
		kv.CreateRevision, kv.Version = s.rev, 1
	}
	ev := &clientv3.Event{Type: typ, Kv: kv}
	s.log = append(s.log, ev)
	for _, w := range s.watches {
		if w.wants(ev) && !s.silent && !s.mute[w.stream] {
			w.send(s.response(clientv3.WatchResponse{Events: []*clientv3.Event{ev}}))
		}
	}
	return s.rev
}

func (s *server) put(key string) int64    { return s.change(mvccpb.PUT, key) }
func (s *server) delete(key string) int64 { return s.change(mvccpb.DELETE, key) }

// breakAll ends all watches, as the end of a connection does that etcd's client gives up.
func (s *server) breakAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range slices.Clone(s.watches) {
		s.end(w)
	}
}

// set changes how the server behaves.
func (s *server) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// counts returns how many watches run, and how many streams and watches there were.
func (s *server) counts() (running, streams, opened int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.watches), len(s.names), s.opened
}

func (s *server) probes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func streamOf(ctx context.Context) string {
	md, _ := metadata.FromOutgoingContext(ctx)
	return strings.Join(md.Get("elock-watch-stream"), " ")
}

// A bed is a Hub on a server, in virtual time.
type bed struct {
	*Hub
	server
	end        context.CancelFunc
	goroutines sync.WaitGroup
	running    int // guarded by server.mu
}

func inBed(t *testing.T, f func(t *testing.T, b *bed)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bed{server: server{rev: 10, mute: map[string]bool{}}}
		base, end := context.WithCancel(context.Background())
		b.end = end
		b.Hub = NewHub(Config{Watcher: &b.server, Base: base, Spawn: func(f func()) bool {
			if base.Err() != nil {
				return false
			}
			b.set(func() { b.running++ })
			b.goroutines.Go(func() {
				defer b.set(func() { b.running-- })
				f()
			})
			return true
		}})
		f(t, b)
		end()
		b.goroutines.Wait()
	})
}

// wantRunning fails the test unless the Hub has so many goroutines.
func (b *bed) wantRunning(t *testing.T, want int) {
	t.Helper()
	synctest.Wait()
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	if b.running != want {
		t.Errorf("%d goroutines run, want %d", b.running, want)
	}
}

// read returns what a feed knows now, once everything has come to rest.
func read(f *Feed) (s State) {
	synctest.Wait()
	f.Read(func(now State) { s = now })
	return s
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
