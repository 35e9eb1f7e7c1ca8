package retain

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/clock"
	"github.com/phpgao/elock/internal/feed"
	"github.com/phpgao/elock/internal/queue"
	"github.com/phpgao/elock/internal/record"
)

// A Config is what a Set works with.
type Config struct {
	Batch *batch.Batcher
	For   time.Duration   // how long an entry is retained after its lock was last released
	Trust time.Duration   // for how long holds may begin without contacting etcd while no watch works
	Drain context.Context // ends when no entry is to be retained any more
}

// A Set is the entries that a process retains. It is safe for concurrent use.
type Set struct {
	cfg Config
	n   atomic.Int64
}

// maxEntries is how many entries a Set retains at a time.
const maxEntries = 1024

// New returns an empty Set.
func New(cfg Config) *Set { return &Set{cfg: cfg} }

// A Retention is of an entry that is retained, or was and is held again. The methods of a nil one say that it never was.
type Retention struct {
	set            *Set
	e              *queue.Entry
	wanted         atomic.Bool  // another process has queued
	since          atomic.Int64 // when its lock was last released, by the monotonic clock
	unwatchedSince atomic.Int64 // when the watch was lost; 0 while it works
	ended          chan struct{}

	written int64         // the revision of the last publish, which also looked at the queue; of Run
	putting chan struct{} // full while somebody puts the record again; guards e.Mod
	inDoubt atomic.Bool   // it is not known what the record is
	end     sync.Once
}

// Begin has the record of e say that it may only be retained, and returns a Retention, or nil if e is not to be retained. The caller
// runs Run, and calls Stop in the end.
func (s *Set) Begin(ctx context.Context, e *queue.Entry) *Retention {
	if s.n.Add(1) > maxEntries {
		s.n.Add(-1)
		return nil
	}
	r := &Retention{set: s, e: e, ended: make(chan struct{}), putting: make(chan struct{}, 1)}
	if !r.publish(ctx, true) || r.wanted.Load() {
		s.n.Add(-1)
		return nil
	}
	r.unwatchedSince.Store(clock.Mono())
	return r
}

// Stop ends r.
func (r *Retention) Stop() {
	if r != nil {
		r.end.Do(func() {
			close(r.ended)
			r.set.n.Add(-1)
		})
	}
}

// Released notes that the lock was released, and that nobody holds it.
func (r *Retention) Released() { r.since.Store(clock.Mono()) }

// Wanted reports whether somebody else wants the lock. It stays so.
func (r *Retention) Wanted() bool { return r != nil && r.wanted.Load() }

// Usable reports whether a hold may begin without contacting etcd.
func (r *Retention) Usable() bool {
	if r == nil {
		return true // it was passed on a moment ago
	}
	since := r.unwatchedSince.Load()
	return !r.wanted.Load() && (since == 0 || clock.Mono()-since < int64(r.set.cfg.Trust))
}

// Run watches the queue until r ends, or the lock is wanted, was retained for long enough, or Drain ends. Then it calls recall, which gives the
// entry up unless somebody in this process holds the lock, and reports whether it has done so.
func (r *Retention) Run(recall func() bool) {
	cfg := &r.set.cfg
	f := r.e.Feed()
	defer f.Close()
	timer := time.NewTimer(cfg.For)
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
			if !recall() && !s.gone && cfg.Drain.Err() == nil {
				r.publish(r.e.Lease.Context(), false) // it is held, and the release gives it up
			}
			return
		}
		overdue := false
		select {
		case <-r.ended:
			return
		case <-s.changed:
		case <-cfg.Drain.Done():
			r.wanted.Store(true)
		case <-timer.C:
			overdue = true
		}
		if !overdue {
			continue
		}
		left := cfg.For - time.Duration(clock.Mono()-r.since.Load())
		if left <= 0 && recall() {
			return
		}
		timer.Reset(max(left, cfg.For/8, time.Millisecond))
	}
}

// A sight is what a Retention sees of the queue.
type sight struct {
	changed <-chan struct{} // closed when there is more to see
	gap     bool            // somebody may have come between the last look at the queue and the watch
	gone    bool            // the entry was deleted
}

// look looks at what f knows. It notes since when no watch works, and whether
// somebody has come or asks for the lock, or the entry is gone: then the lock is not retained any more.
func (r *Retention) look(f *feed.Feed) sight {
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
	asked := known.Put.GetModRevision() > r.written && string(known.Put.GetKey()) == r.e.Name && record.Requested(known.Put) != nil
	if s.gone || asked || known.Created.GetCreateRevision() > r.e.Rev && string(known.Created.Key) != r.e.Name {
		r.wanted.Store(true)
	}
	return s
}
