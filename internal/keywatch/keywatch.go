// Package keywatch watches many single keys of etcd over one gRPC stream.
//
// A key costs a message when its watch begins, and what is sent about it: no
// goroutine, and nothing about other keys. The stream has its own login and is
// replaced when it breaks, when etcd refuses a watch on it, or when it is silent.
// It knows nothing of what the keys mean.
package keywatch

import (
	"context"
	"errors"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/watchstream"
	"github.com/phpgao/elock/internal/xctx"
)

// A Hub watches keys. Its functions must be set. They run on the Hub's
// goroutines and must not wait.
type Hub struct {
	Open   func(context.Context) (pb.Watch_WatchClient, error)
	Placed func(keys []string)            // their watches are in place: changes from now on are reported
	Broken func(err error)                // no watch is in place any more
	Events func(events []*clientv3.Event) // with the state before them

	mu     sync.Mutex        // guards what follows, but pulse
	live   map[string]bool   // the keys that are wanted; true: with a watch in place
	fresh  []string          // not yet sent on this stream
	placed []string          // not yet passed to Placed
	stale  int               // watches of the stream whose keys are not in live
	wake   chan struct{}     // has an element after a change
	pulse  watchstream.Pulse // of the stream
}

const (
	// silence is how long a watch may take to be in place.
	silence = watchstream.Silence
	// round is how long a Send may take, and how long a stream lasts after which the
	// pause before the next one is short again.
	round = 30 * time.Second
	// rest is for how long a stream that has answered is not asked again: a process that holds locks and does nothing sends
	// few messages. Renewals tell sooner that a member is gone.
	rest = 20 * time.Second
	// maxPause is the longest pause before the next stream where etcd refuses
	// watches: each is a login, and all watches anew.
	maxPause = 4 * time.Second
	// minStale is how many watches of keys that are not wanted any more a
	// stream has at least before another, without them, takes its place.
	minStale = 64
)

// A refusal is why etcd does not watch a key.
type refusal string

func (r refusal) Error() string { return string(r) }

var errSilent = errors.New("keywatch: the stream is silent")

// Add watches a key. If that is watched already, Placed hears of it once more.
func (h *Hub) Add(key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if inPlace, ok := h.live[key]; ok {
		if inPlace {
			h.placed = append(h.placed, key)
			h.changed()
		}
		return
	}
	if h.live == nil {
		h.live = make(map[string]bool)
	}
	h.live[key] = false
	h.fresh = append(h.fresh, key)
	h.changed()
}

// Remove ends the watch of a key. Some events of it may still come.
func (h *Hub) Remove(key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.live[key]; ok {
		delete(h.live, key)
		h.stale++
		h.changed()
	}
}

// changed wakes Run. The caller holds mu.
func (h *Hub) changed() {
	select {
	case h.waker() <- struct{}{}:
	default:
	}
}

// waker returns wake. The caller holds mu.
func (h *Hub) waker() chan struct{} {
	if h.wake == nil {
		h.wake = make(chan struct{}, 1)
	}
	return h.wake
}

// Run watches until ctx is done. No stream is open while there are no keys.
func (h *Hub) Run(ctx context.Context) {
	h.pulse.First, h.pulse.Constant, h.pulse.Rest = watchstream.Unproven, true, rest
	h.mu.Lock()
	wake := h.waker()
	h.mu.Unlock()
	for wait := xctx.FirstPause; ctx.Err() == nil; {
		h.mu.Lock()
		empty := len(h.live) == 0
		h.fresh, h.placed, h.stale = nil, nil, 0
		for key := range h.live {
			h.live[key] = false
			h.fresh = append(h.fresh, key)
		}
		h.mu.Unlock()
		if empty {
			select {
			case <-ctx.Done():
			case <-wake:
			}
			continue
		}
		began := time.Now()
		err := h.round(ctx, wake)
		h.Broken(err)
		var denied refusal
		switch {
		case err == nil, time.Since(began) > round:
			wait = xctx.FirstPause
		case errors.As(err, &denied): // perhaps for one of the keys, and for long
			xctx.Pause(ctx, wait)
			wait = min(2*wait, maxPause)
		default:
			wait = xctx.Pause(ctx, wait)
		}
	}
}

// A stream is one stream. mu of the Hub guards its fields but remote.
type stream struct {
	remote  pb.Watch_WatchClient
	sent    []string  // the keys of its watches, in order
	created int       // how many of them are in place
	waits   time.Time // since when the first of those that are not in place waits
}

// round watches over one stream. It returns nil when the stream is to be replaced
// for no fault of its own.
func (h *Hub) round(ctx context.Context, wake <-chan struct{}) error {
	ctx, cancel := context.WithCancelCause(clientv3.WithRequireLeader(ctx))
	defer cancel(nil)
	opening := time.AfterFunc(silence, func() { cancel(errSilent) })
	remote, err := h.Open(ctx)
	if !opening.Stop() || err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	st := &stream{remote: remote}
	h.pulse.Opened()
	received := make(chan struct{})
	go func() {
		defer close(received)
		h.receive(st, cancel)
	}()
	defer func() { cancel(nil); <-received }()
	look := time.NewTicker(watchstream.Tick)
	defer look.Stop()
	for {
		fresh, placed, old := h.due(st)
		if len(placed) > 0 {
			h.Placed(placed)
		}
		if old {
			return nil
		}
		st.create(fresh, cancel)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-wake:
		case now := <-look.C:
			ask, silent := h.examine(st, now)
			if silent {
				return errSilent
			}
			if ask {
				_ = remote.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
			}
		}
	}
}

// receive takes what comes until the stream ends.
func (h *Hub) receive(st *stream, cancel context.CancelCauseFunc) {
	for {
		resp, err := st.remote.Recv()
		if err == nil {
			err = h.take(st, resp)
		}
		if err != nil {
			cancel(err)
			return
		}
	}
}

// due returns the keys to be watched now, as sent, and those whose watches are in place, and whether the stream has too many
// that are not wanted, or no others.
func (h *Hub) due(st *stream) (fresh, placed []string, old bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, key := range h.fresh {
		if _, ok := h.live[key]; ok {
			fresh = append(fresh, key)
		}
	}
	placed = h.placed
	h.fresh, h.placed = nil, nil
	if len(st.sent) == st.created && len(fresh) > 0 {
		st.waits = time.Now()
	}
	st.sent = append(st.sent, fresh...)
	return fresh, placed, h.stale > max(minStale, len(h.live)) || len(h.live) == 0
}

// create asks for watches of keys. A Send that blocks is ended by cancel.
func (st *stream) create(keys []string, cancel context.CancelCauseFunc) {
	guard := time.AfterFunc(round, func() { cancel(errSilent) })
	defer guard.Stop()
	for _, key := range keys {
		create := &pb.WatchCreateRequest{Key: []byte(key), PrevKv: true}
		if st.remote.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}) != nil {
			return // Recv returns why
		}
	}
}

// examine reports whether to ask etcd for a sign of life, and whether it owes
// one, or a watch, for too long.
func (h *Hub) examine(st *stream, now time.Time) (ask, silent bool) {
	h.mu.Lock()
	waits := st.created < len(st.sent)
	silent = waits && now.Sub(st.waits) > silence
	h.mu.Unlock()
	if waits {
		return false, silent
	}
	return h.pulse.Look()
}

// take takes a message from etcd.
func (h *Hub) take(st *stream, resp *pb.WatchResponse) error {
	h.pulse.Heard(!resp.Canceled && !resp.Created && len(resp.Events) == 0)
	h.mu.Lock()
	switch {
	case resp.Canceled:
		h.mu.Unlock()
		wr := clientv3.WatchResponse{Canceled: true, CompactRevision: resp.CompactRevision}
		if resp.CancelReason != "" {
			return refusal(resp.CancelReason)
		}
		return wr.Err()
	case resp.Created:
		if st.created < len(st.sent) {
			key := st.sent[st.created]
			if _, ok := h.live[key]; ok {
				h.live[key] = true
				h.placed = append(h.placed, key)
			}
			st.created++
			st.waits = time.Now()
			h.changed()
		}
	}
	h.mu.Unlock()
	if len(resp.Events) > 0 {
		events := make([]*clientv3.Event, len(resp.Events))
		for i, ev := range resp.Events {
			events[i] = (*clientv3.Event)(ev)
		}
		h.Events(events)
	}
	return nil
}
