package feed

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/xctx"
)

// A Follower hears what becomes of keys. Its functions run on the goroutine of Follow, and must not wait.
type Follower struct {
	Placed func()                  // the watch is in place: changes from now on are reported
	Broken func()                  // it is not, any more
	Events func([]*clientv3.Event) // in order
}

// Follow watches a key, or what opts make of it, until ctx is done.
func (h *Hub) Follow(ctx context.Context, key string, to Follower, opts ...clientv3.OpOption) {
	repeat(ctx, func() (ended bool) {
		h.followRound(ctx, key, to, opts)
		return false
	})
}

func (h *Hub) followRound(ctx context.Context, key string, to Follower, opts []clientv3.OpOption) {
	ctx, cancel := context.WithTimeout(ctx, maxRound)
	defer cancel()
	w, err := h.watch(ctx, key, opts)
	if err != nil {
		return
	}
	defer w.close()
	for {
		resp, ok := w.next()
		switch err := w.take(resp, ok); {
		case err != nil && w.created:
			to.Broken()
			fallthrough
		case err != nil:
			return
		case resp.Created:
			to.Placed()
		}
		if len(resp.Events) > 0 {
			to.Events(resp.Events)
		}
	}
}

// First returns the first event of a key at the revision from or later. It waits for it. If that may be in a past that is
// compacted, it fails and returns the first revision that is not.
func (h *Hub) First(ctx context.Context, key string, from int64, opts ...clientv3.OpOption) (ev *clientv3.Event, compacted int64, err error) {
	opts = append(opts, clientv3.WithRev(from))
	for wait := xctx.FirstPause; ; wait = xctx.Pause(ctx, wait) { // on a stream whose token is dead, for example
		w, err := h.watch(ctx, key, opts)
		if err == nil {
			ev, compacted, err = w.first()
			w.close()
		}
		if err == nil || compacted > 0 || ctx.Err() != nil {
			return ev, compacted, err
		}
	}
}

// first waits for the first event of w.
func (w *watch) first() (ev *clientv3.Event, compacted int64, err error) {
	for {
		resp, ok := w.next()
		if err := w.take(resp, ok); err != nil {
			return nil, resp.CompactRevision, err
		}
		if len(resp.Events) > 0 {
			return resp.Events[0], 0, nil
		}
	}
}
