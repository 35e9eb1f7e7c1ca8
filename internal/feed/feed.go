package feed

import (
	"context"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// keepFor is how long a feed stays without a user.
	keepFor = time.Second
	// maxDeleted is how many deleted keys a feed remembers.
	maxDeleted = 1000
)

// A Feed is a watch that all share who have opened it. Its methods may be called from several goroutines.
type Feed struct {
	hub   *Hub
	name  string // in the hub
	key   string
	opts  []clientv3.OpOption
	quiet *time.Timer // has run look whether anybody still uses it

	mu      sync.Mutex // guards what follows
	users   int
	unused  time.Time // since when there is none
	ticks   bool      // quiet runs
	state   State
	changed chan struct{} // is state.Changed
}

// A State is what a feed knows.
type State struct {
	// Since says that the feed knows every deletion after this revision. It is 0 while no watch is in place.
	Since int64
	// Created is the last new key, nil if there was none or the feed does not watch puts.
	Created *mvccpb.KeyValue
	// Put is the last key that was there and was put again, likewise.
	Put *mvccpb.KeyValue
	// Changed is closed when any of this changes.
	Changed <-chan struct{}

	deleted map[string]int64
}

// Deleted returns the revision of the last deletion of key that the feed remembers, 0 if there is none.
func (s State) Deleted(key string) int64 { return s.deleted[key] }

func newFeed(h *Hub, name, key string, opts []clientv3.OpOption) *Feed {
	f := &Feed{hub: h, name: name, key: key, opts: opts, quiet: time.NewTimer(keepFor), changed: make(chan struct{})}
	f.quiet.Stop()
	f.state = State{Changed: f.changed, deleted: make(map[string]int64)}
	return f
}

// Read calls read with what f knows, under a mutex: read must not wait, and Deleted must not be called after it.
func (f *Feed) Read(read func(State)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	read(f.state)
}

// Close gives f up. It ends some time after the last Close, so that it is in place for who comes soon.
func (f *Feed) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.users--; f.users > 0 {
		return
	}
	f.unused = time.Now()
	if !f.ticks { // one that runs is left alone: a feed that is used again and again does not set it each time
		f.ticks = true
		f.quiet.Reset(keepFor)
	}
}

// run watches until nobody has used f for a while.
func (f *Feed) run() {
	defer f.quiet.Stop()
	repeat(f.hub.cfg.Base, func() (ended bool) {
		if f.round() {
			return true
		}
		select {
		case <-f.quiet.C:
			return f.idle()
		default:
			return false
		}
	})
}

// round watches for one round, and reports whether f has ended. It is bounded, so that a watch that went silent is replaced.
func (f *Feed) round() (ended bool) {
	ctx, cancel := context.WithTimeout(f.hub.cfg.Base, f.hub.roundTime())
	defer cancel()
	w, err := f.hub.watch(ctx, f.key, f.opts)
	if err != nil {
		return false
	}
	defer w.close()
	defer f.broken()
	for {
		select {
		case resp, ok := <-w.changes:
			if w.take(resp, ok) != nil {
				return false
			}
			f.take(resp)
		case <-w.ctx.Done(): // as in next
			return false
		case <-f.quiet.C:
			if f.idle() {
				return true
			}
		}
	}
}

// idle ends f if nobody has used it for a while.
func (f *Feed) idle() (ended bool) {
	f.mu.Lock()
	left := keepFor - time.Since(f.unused)
	if f.ticks = f.users == 0 && left > 0; f.ticks {
		f.quiet.Reset(left)
	}
	over := f.users == 0 && left <= 0
	f.mu.Unlock()
	return over && f.hub.end(f)
}

// take notes what etcd says.
func (f *Feed) take(resp clientv3.WatchResponse) {
	if !resp.Created && len(resp.Events) == 0 {
		return // a sign of life
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if resp.Created {
		f.state.Since = resp.Header.Revision
	}
	if len(f.state.deleted) > maxDeleted {
		clear(f.state.deleted)
		f.state.Since = resp.Header.Revision
	}
	for _, ev := range resp.Events {
		switch {
		case ev.Type == clientv3.EventTypeDelete:
			f.state.deleted[string(ev.Kv.Key)] = ev.Kv.ModRevision
		case ev.IsCreate():
			f.state.Created = ev.Kv
		default:
			f.state.Put = ev.Kv
		}
	}
	f.notify()
}

// broken notes that no watch is in place any more.
func (f *Feed) broken() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state.Since != 0 {
		f.state.Since = 0
		f.notify()
	}
}

// notify wakes all that wait for a change. The caller holds mu.
func (f *Feed) notify() {
	close(f.changed)
	f.changed = make(chan struct{})
	f.state.Changed = f.changed
}
