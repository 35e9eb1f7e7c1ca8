package losswatch

import (
	"context"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/feed"
	"github.com/phpgao/elock/internal/keywatch"
)

// After is the age at which a key is watched, and how often keys are looked at.
const After = time.Second

// An Entry is a key as it is to stay.
type Entry struct {
	Key   string
	Rev   int64 // its create revision
	Lease int64
	Ask   int // how often its owner has begun to ask what is put over it: then it is read each second where a watch does not tell
}

// Config says what a Watcher works with. All fields but Stream and Put must be set. The functions must not wait.
type Config struct {
	Base   context.Context   // ends the Watcher
	Spawn  func(func()) bool // runs a function on a goroutine, false once the process ends
	Stream func(context.Context) (pb.Watch_WatchClient, error)
	Hub    *feed.Hub // has the watches if there is no Stream
	Root   string    // begins all keys
	Read   func(context.Context, ...clientv3.Op) (*clientv3.TxnResponse, error)

	// Entries are those that live, and since when. There may be several of one key only if they are equal.
	Entries iter.Seq2[Entry, time.Time]
	Events  func([]*clientv3.Event)  // takes what watches report, with the state before
	Put     func([]*mvccpb.KeyValue) // takes entries that are read and were put again; perhaps several times
	Missing func([]Entry)            // takes entries that are not there any more; some may have ended meanwhile

	Log   *slog.Logger
	Owner string
}

// A Watcher notices when entries go. Its methods may be called from several goroutines.
type Watcher struct {
	cfg     Config
	hub     *keywatch.Hub // nil: keys are watched as crowd says
	wake    chan struct{} // wakes Run
	awake   atomic.Bool   // Run looks, or is to wake up
	refused atomic.Bool   // etcd refuses watches or reads, as is logged

	round int // the number of the last look; Run's
	crowd crowd

	mu      sync.Mutex      // nothing is begun under it
	keys    map[string]*key // that are followed
	queue   []*key          // to be read; some may have ended
	reading bool            // readAll runs
}

// A key is followed. mu of the Watcher guards it, but for what is Run's.
type key struct {
	name      string
	entry     Entry
	round     int                // in which it was last among the entries
	placed    bool               // its watch is in place
	queued    bool               // it is to be read
	forbidden time.Time          // when etcd did not let it be read
	bulk      bool               // it is under the watch of the directory
	cancel    context.CancelFunc // ends its own watch, if it has one; Run's
}

// New returns a Watcher that does nothing until Run.
func New(cfg Config) *Watcher {
	w := &Watcher{cfg: cfg, wake: make(chan struct{}, 1), keys: make(map[string]*key)}
	if cfg.Stream != nil {
		w.hub = &keywatch.Hub{Open: cfg.Stream, Placed: w.placed, Broken: w.broken, Events: cfg.Events}
	}
	return w
}

// Wake is to be called after an entry was added. It costs next to nothing.
func (w *Watcher) Wake() {
	if !w.awake.Load() && w.awake.CompareAndSwap(false, true) {
		select {
		case w.wake <- struct{}{}:
		default: // it is to wake up already
		}
	}
}

// Placed returns how many keys have a watch in place.
func (w *Watcher) Placed() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range w.keys {
		if k.placed {
			n++
		}
	}
	return n
}

// Run watches until Base is done.
func (w *Watcher) Run() {
	if w.hub != nil {
		w.cfg.Spawn(func() { w.hub.Run(w.cfg.Base) })
	}
	tick := time.NewTicker(After)
	defer tick.Stop()
	tick.Stop()
	for ticking := false; ; {
		select {
		case <-w.cfg.Base.Done():
			return
		case <-w.wake:
			if !ticking {
				tick.Reset(After)
				ticking = true
			}
			continue
		case <-tick.C:
		}
		if w.look() > 0 {
			continue
		}
		w.awake.Store(false)
		if ticking = w.any(); ticking {
			w.awake.Store(true)
		} else {
			tick.Stop()
		}
	}
}

// any reports whether there are entries.
func (w *Watcher) any() bool {
	for range w.cfg.Entries {
		return true
	}
	return false
}

// look follows new old entries and forgets those that have ended. It has those read whose watches are not in place, and returns
// how many keys are followed.
func (w *Watcher) look() int {
	fresh, ended, followed := w.update(time.Now())
	for _, k := range ended {
		w.unfollow(k)
	}
	for _, k := range fresh {
		w.follow(k)
	}
	w.followAll()
	w.enqueueBlind()
	w.startReading()
	return followed
}

// update brings keys up to date, and returns what is new, what has ended, and how many there are.
func (w *Watcher) update(now time.Time) (fresh, ended []*key, followed int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.round++
	for e, since := range w.cfg.Entries {
		k := w.keys[e.Key]
		if k == nil {
			if now.Sub(since) <= After {
				continue
			}
			k = &key{name: e.Key}
			w.keys[e.Key] = k
			fresh = append(fresh, k)
		}
		if k.entry != e {
			k.entry = e
			w.enqueue(k)
		}
		k.round = w.round
	}
	for name, k := range w.keys {
		if k.round != w.round {
			delete(w.keys, name)
			ended = append(ended, k)
		}
	}
	return fresh, ended, len(w.keys)
}

// enqueueBlind has the keys read whose watches are not in place, or do not tell all that is asked.
func (w *Watcher) enqueueBlind() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range w.keys {
		if (!k.placed || k.bulk && k.entry.Ask > 0) && time.Since(k.forbidden) > forbiddenFor {
			w.enqueue(k)
		}
	}
}
