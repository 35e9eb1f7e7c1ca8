package simulation_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// A world is one run: a cluster, processes that use it, and a witness of all that happens.
type world struct {
	sim      *etcdsim.Sim
	profile  profile
	began    time.Time
	end      time.Time // when the work stops
	procs    []*process
	operator *etcdsim.Client
	keys     []keyspace.Key

	mu       sync.Mutex
	rng      *rand.Rand
	history  []string
	failures []string
	believed map[int64]*locker.Hold  // by create revision; those that have ended too
	deleted  map[int64]deletion      // entries that etcd deleted, by create revision
	queues   map[string][]int64      // the entries of each lock in etcd, by create revision
	granted  map[int64]bool          // those that have become holds
	vandal   map[int64]bool          // those that are deleted by hand
	tokens   map[string]locker.Token // the highest of each key
	open     map[string]int          // hook spans that have started and not ended
	acked    map[string]int          // fenced updates of each key that etcd confirmed
	unknown  map[string]int          // and those of unknown outcome
	stats    stats
}

// stats say how much a run has tried.
type stats struct{ grants, waits, losses, timeouts, updates, faults int }

func (w *world) logf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log(format, args...)
}

// log is logf for a caller that holds mu.
func (w *world) log(format string, args ...any) {
	w.history = append(w.history, fmt.Sprintf("%10.3fs  ", time.Since(w.began).Seconds())+fmt.Sprintf(format, args...))
}

func (w *world) failf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail(format, args...)
}

// fail is failf for a caller that holds mu.
func (w *world) fail(format string, args ...any) {
	w.log("FAILURE: "+format, args...)
	w.failures = append(w.failures, fmt.Sprintf(format, args...))
}

// n returns a random number below max.
func (w *world) n(max int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(max)
}

// span returns a random duration; short ones are as likely as long ones.
func (w *world) span(min, max time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	scale := w.rng.Float64()
	return min + time.Duration(float64(max-min)*scale*scale*scale)
}

func (w *world) chance(p float64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.Float64() < p
}

// committed is told of every change in etcd, before anybody can see it. No hold may be believed in when its entry goes.
func (w *world) committed(rev int64, events []*mvccpb.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ev := range events {
		if !strings.HasPrefix(string(ev.Kv.Key), "/elock/") {
			continue
		}
		dir := path.Dir(string(ev.Kv.Key))
		if ev.Type == mvccpb.Event_PUT {
			if ev.Kv.Version == 1 {
				w.queues[dir] = append(w.queues[dir], rev)
				w.expectGrant(dir)
			}
			continue
		}
		entry := ev.PrevKv.CreateRevision
		w.queues[dir] = slices.DeleteFunc(w.queues[dir], func(e int64) bool { return e == entry })
		w.expectGrant(dir)
		d := deletion{time.Now(), w.vandal[entry] || bytes.Contains(ev.PrevKv.Value, []byte(`"evicted":true`))}
		w.deleted[entry] = d
		w.log("etcd: entry %d of %s deleted, by force %v", entry, ev.Kv.Key, d.forced)
		if h := w.believed[entry]; h != nil && h.Context().Err() == nil && !d.forced {
			w.fail("hold %d of %s is believed in when etcd deletes it", entry, ev.Kv.Key)
		}
	}
}

// expectGrant checks, where nothing is at fault, that the first in a queue soon becomes a hold or goes. The caller holds mu.
func (w *world) expectGrant(dir string) {
	if w.profile != calm || len(w.queues[dir]) == 0 {
		return
	}
	first := w.queues[dir][0]
	time.AfterFunc(2*time.Second, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if q := w.queues[dir]; len(q) > 0 && q[0] == first && !w.granted[first] {
			w.fail("entry %d is the first in %s for 2s, and nobody holds", first, dir)
		}
	})
}

// A deletion is the end of an entry in etcd.
type deletion struct {
	at     time.Time
	forced bool // by Evict or by hand: its owner hears of it afterwards
}

// believe is told of a hold by whoever acquired it.
func (w *world) believe(h *locker.Hold) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.believed[entryOf(h.Token())] = h
}

// forced reports whether a lock was lost because somebody took it.
func forced(err *locker.LostError) bool {
	return err.Reason == locker.Evicted || err.Reason == locker.KeyDeleted
}

func entryOf(t locker.Token) int64 { return int64(t >> 16) }

// witness is the hook of one process.
type witness struct {
	w    *world
	name string
}

type spanKey struct{ kind string }

func (h *witness) start(ctx context.Context, kind string, key keyspace.Key) context.Context {
	h.w.open[kind]++
	ended := new(bool)
	return context.WithValue(ctx, spanKey{kind}, ended)
}

func (h *witness) end(ctx context.Context, kind string, key keyspace.Key) {
	ended, ok := ctx.Value(spanKey{kind}).(*bool)
	switch {
	case !ok:
		h.w.fail("%s: %s of %v ended without its start", h.name, kind, key)
	case *ended:
		h.w.fail("%s: %s of %v ended twice", h.name, kind, key)
	default:
		*ended = true
		h.w.open[kind]--
	}
}

func (h *witness) AcquireStart(ctx context.Context, d locker.AcquireStartData) (context.Context, map[string]string) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	return h.start(ctx, "acquire", d.Key), nil
}

func (h *witness) AcquireEnd(ctx context.Context, d locker.AcquireEndData) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	h.end(ctx, "acquire", d.Key)
	if d.Err != nil {
		h.w.log("%s: no %v: %v", h.name, d.Key, d.Err)
	}
}

func (h *witness) Blocked(_ context.Context, d locker.BlockedData) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	h.w.stats.waits++
	h.w.log("%s: waits for %v behind %s %d, local %v", h.name, d.Key, d.By.Name, entryOf(d.By.Token), d.Local)
}

func (h *witness) HoldStart(ctx context.Context, d locker.HoldStartData) context.Context {
	w := h.w
	w.mu.Lock()
	defer w.mu.Unlock()
	entry := entryOf(d.Token)
	w.stats.grants++
	w.granted[entry] = true
	w.log("%s: holds %v, entry %d, after %v", h.name, d.Key, entry, d.Waited)
	last := w.tokens[d.Key.String()]
	gone, deleted := w.deleted[entry]
	switch {
	case deleted && gone.forced && (w.profile != calm || time.Since(gone.at) < 20*time.Millisecond):
		// The answer was on its way. It will be told.
	case deleted:
		w.fail("%s: granted %v, entry %d, which etcd has deleted", h.name, d.Key, entry)
	case d.Token <= last:
		w.fail("%s: token %d of %v after %d", h.name, d.Token, d.Key, last)
	default:
		w.tokens[d.Key.String()] = d.Token
	}
	return h.start(ctx, "hold", d.Key)
}

func (h *witness) HoldEnd(ctx context.Context, d locker.HoldEndData) {
	w := h.w
	w.mu.Lock()
	defer w.mu.Unlock()
	h.end(ctx, "hold", d.Key)
	w.log("%s: held %v, entry %d, for %v: %v", h.name, d.Key, entryOf(d.Token), d.Held, d.Cause)
	if lost, ok := d.Cause.(*locker.LostError); ok {
		w.stats.losses++
		if w.profile == calm && !forced(lost) {
			w.fail("%s: lost %v without a fault: %v", h.name, d.Key, d.Cause)
		}
	}
}

func (h *witness) TimeoutStart(ctx context.Context, d locker.TimeoutStartData) context.Context {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	h.w.stats.timeouts++
	return h.start(ctx, "timeout", d.Key)
}

func (h *witness) TimeoutEnd(ctx context.Context, d locker.TimeoutEndData) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	h.end(ctx, "timeout", d.Key)
}
