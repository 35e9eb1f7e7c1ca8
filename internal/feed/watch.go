package feed

import (
	"context"
	"errors"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/watchstream"
	"github.com/phpgao/elock/internal/xctx"
)

const (
	// patience is how long a watch may take to be in place while the stream is silent, and longest while it is not: the client has
	// one watch after the other begin.
	patience = 2 * time.Second
	longest  = time.Minute
	// maxRound is how long a watch may last before it is replaced, in case that it went silent. Many feeds take longer: one is
	// replaced each perFeed, on average.
	maxRound = 30 * time.Second
	perFeed  = 3 * time.Millisecond
	// perRead bounds how many reads there are in a second of those whose watches are not in place.
	perRead = 100 * time.Microsecond
	// firstPause is the first pause between two rounds, and lasting how long one lasts after which the pause is that again.
	firstPause = 50 * time.Millisecond
	lasting    = time.Second
	// slow is how long a watch that its caller gives up may take to be in place before its stream is suspected, if there are no
	// feeds: then nothing else looks whether that is silent.
	slow = 250 * time.Millisecond
)

var (
	errSilent = errors.New("feed: a watch does not begin")
	errEnded  = errors.New("feed: a watch has ended")
)

// A watch is one watch.
type watch struct {
	hub     *Hub
	ctx     context.Context // names the stream
	cancel  context.CancelFunc
	changes clientv3.WatchChan
	created bool
	slow    bool // its caller gave it up before it was in place, but not at once
}

// watch begins a watch. The caller must call close.
func (h *Hub) watch(ctx context.Context, key string, opts []clientv3.OpOption) (*watch, error) {
	if err := h.streams.Wait(ctx); err != nil {
		return nil, err
	}
	generation := h.current()
	w := &watch{hub: h}
	ctx, w.cancel = xctx.Merge(clientv3.WithRequireLeader(h.streams.Context(ctx)), generation)
	w.ctx = ctx
	began := time.Now()
	silent := h.bound(began, w.cancel)
	all := make([]clientv3.OpOption, 0, len(opts)+1)
	w.changes = h.cfg.Watcher.Watch(ctx, key, append(append(all, opts...), clientv3.WithCreatedNotify())...) // returns when the watch is in place
	w.slow = ctx.Err() != nil && h.count.Load() == 0 && time.Since(began) > slow
	if silent() {
		h.renew(ctx)
		return nil, errSilent
	}
	return w, nil
}

// bound calls cancel once a watch that begins now takes too long. silent ends that, and reports whether it was called.
func (h *Hub) bound(began time.Time, cancel context.CancelFunc) (silent func() bool) {
	var mu sync.Mutex
	var over, called bool
	var limit *time.Timer
	mu.Lock()
	defer mu.Unlock()
	limit = time.AfterFunc(patience, func() {
		mu.Lock()
		defer mu.Unlock()
		if left := patience - h.pulse.Quiet(); left > 0 && time.Since(began) < longest {
			limit.Reset(left)
		} else if !over {
			called = true
			cancel()
		}
	})
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		over = true
		limit.Stop()
		return called
	}
}

func (w *watch) close() { w.cancel() }

// next waits for a response of the watch. It returns false once the watch has ended. etcd's client may fail to say so: see
// "Close of etcd's client" in docs/guarantees.md.
func (w *watch) next() (resp clientv3.WatchResponse, ok bool) {
	select {
	case resp, ok = <-w.changes:
	case <-w.ctx.Done():
	}
	return resp, ok
}

// roundTime is how long the watch of a feed lasts.
func (h *Hub) roundTime() time.Duration { return max(maxRound, time.Duration(h.count.Load())*perFeed) }

// Pace is how long who waits without a watch may pause between two reads: the more there are, the longer it takes until all
// watches are in place.
func (h *Hub) Pace() time.Duration { return time.Duration(h.count.Load()) * perRead }

// take notes a response of the watch, or with ok false the end of its channel, and returns why it has ended, if so. The client does
// not say why etcd refused a watch: its channel is closed before the watch is in place.
func (w *watch) take(resp clientv3.WatchResponse, ok bool) error {
	if !ok {
		if !w.created && (w.slow || w.ctx.Err() == nil) {
			w.hub.renew(w.ctx)
		}
		return errEnded
	}
	w.hub.pulse.Heard(resp.IsProgressNotify())
	w.created = w.created || resp.Created
	err := resp.Err()
	if watchstream.Dead(err) {
		w.hub.renew(w.ctx)
	}
	return err
}

// current returns the context of the watches that begin now.
func (h *Hub) current() context.Context {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.generation == nil {
		h.generation, h.next = context.WithCancel(context.Background())
	}
	return h.generation
}

// renew replaces the stream that used names, unless that was done, and ends all watches: they begin anew, on one stream again.
func (h *Hub) renew(used context.Context) {
	if !h.streams.Replace(used) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.generation != nil {
		h.next()
		h.generation = nil
	}
}

// repeat calls round until it reports that it has ended, or ctx is done, with pauses that grow while rounds are short.
func repeat(ctx context.Context, round func() (ended bool)) {
	for wait := firstPause; ctx.Err() == nil; {
		began := time.Now()
		if round() {
			return
		}
		if time.Since(began) > lasting {
			wait = firstPause
		}
		wait = xctx.Pause(ctx, wait)
	}
}
