package feed

import (
	"context"
	"sync"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/watchstream"
)

// Config says what a Hub works with. All fields must be set.
type Config struct {
	Watcher clientv3.Watcher
	Base    context.Context   // ends the feeds
	Spawn   func(func()) bool // runs a function on a goroutine, false once the process ends
}

// A Hub is the watches of a process over one stream. Its methods may be called from several goroutines.
type Hub struct {
	cfg     Config
	streams watchstream.Streams
	pulse   watchstream.Pulse // of the stream
	probing atomic.Bool       // probe runs
	count   atomic.Int64      // of feeds

	mu         sync.Mutex // guards what follows; is locked before that of a feed
	feeds      map[string]*Feed
	generation context.Context // ends when all watches are to begin anew; nil before the first
	next       context.CancelFunc
}

// NewHub returns a Hub without a watch. It sends nothing.
func NewHub(cfg Config) *Hub {
	return &Hub{cfg: cfg, pulse: watchstream.Pulse{First: watchstream.Unproven, Constant: true}, feeds: make(map[string]*Feed)}
}

// Proven reports whether etcd has ever answered a request for progress. Until then a stream that went silent may be noticed late.
func (h *Hub) Proven() bool { return h.pulse.Proven() }

// Has reports whether there is a feed of key.
func (h *Hub) Has(key string) bool {
	if h.count.Load() == 0 {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.feeds[key] != nil
}

// Open returns the feed of a key, or of what opts make of it: they must be the same for each Open of that key. The caller must call
// Close once. When the Hub has ended, the feed stays as it is, and tells nothing.
func (h *Hub) Open(key string, opts ...clientv3.OpOption) *Feed { return h.open(key, key, opts) }

// OpenPuts is Open for a feed that tells of no deletion of the key, and is another one than that of Open.
func (h *Hub) OpenPuts(key string) *Feed {
	return h.open(key+"\x00", key, []clientv3.OpOption{clientv3.WithFilterDelete()})
}

func (h *Hub) open(name, key string, opts []clientv3.OpOption) *Feed {
	f, fresh := h.enter(name, key, opts)
	switch {
	case !fresh:
	case h.cfg.Spawn(f.run):
		h.startProbe()
	default:
		h.mu.Lock()
		defer h.mu.Unlock()
		h.drop(f)
	}
	return f
}

// enter returns the feed of a name, with one user more, and whether it is new.
func (h *Hub) enter(name, key string, opts []clientv3.OpOption) (f *Feed, fresh bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f = h.feeds[name]
	if fresh = f == nil; fresh {
		f = newFeed(h, name, key, opts)
		h.feeds[name] = f
		h.count.Add(1)
	}
	f.mu.Lock()
	f.users++
	f.mu.Unlock()
	return f, fresh
}

// end ends a feed unless somebody uses it.
func (h *Hub) end(f *Feed) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.users > 0 {
		return false
	}
	h.drop(f)
	return true
}

// drop forgets a feed. The caller holds mu.
func (h *Hub) drop(f *Feed) {
	delete(h.feeds, f.name)
	h.count.Add(-1)
}
