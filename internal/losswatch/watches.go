package losswatch

import (
	"context"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcderr"
	"github.com/phpgao/elock/internal/feed"
)

// maxSingle is how many keys have a watch each where there is no stream for all. One watch of the directory then costs less than
// very many.
const maxSingle = 8

// A crowd is the watches of keys where there is no stream for all.
type crowd struct {
	single int                // keys with a watch each; Run's
	bulk   int                // keys under that of the directory; Run's
	cancel context.CancelFunc // ends that; nil if there is none; Run's
	placed bool               // it is in place; guarded by mu of the Watcher
}

// follow has a key watched.
func (w *Watcher) follow(k *key) {
	switch {
	case w.hub != nil:
		w.hub.Add(k.name)
	case w.crowd.single < maxSingle && w.crowd.bulk == 0:
		w.crowd.single++
		k.cancel = w.watch(k.name, w.followerOf(k), clientv3.WithPrevKV())
	default:
		w.crowd.bulk++
		w.mu.Lock()
		defer w.mu.Unlock()
		k.bulk, k.placed = true, w.crowd.placed
	}
}

// unfollow ends the watch of a key.
func (w *Watcher) unfollow(k *key) {
	switch {
	case w.hub != nil:
		w.hub.Remove(k.name)
	case k.cancel != nil:
		k.cancel()
		w.crowd.single--
	default:
		w.crowd.bulk--
	}
}

// followAll has the directory watched if there are keys for that, and no longer.
func (w *Watcher) followAll() {
	switch all := &w.crowd; {
	case all.bulk > 0 && all.cancel == nil:
		all.cancel = w.watch(w.cfg.Root, w.followerOfAll(), clientv3.WithPrefix(), clientv3.WithFilterPut(), clientv3.WithPrevKV())
	case all.bulk == 0 && all.cancel != nil:
		all.cancel()
		all.cancel = nil
	}
}

// watch watches by way of the feeds' stream until cancel is called.
func (w *Watcher) watch(key string, to feed.Follower, opts ...clientv3.OpOption) (cancel context.CancelFunc) {
	ctx, cancel := context.WithCancel(w.cfg.Base)
	w.cfg.Spawn(func() { w.cfg.Hub.Follow(ctx, key, to, opts...) })
	return cancel
}

func (w *Watcher) followerOf(k *key) feed.Follower {
	return feed.Follower{
		Placed: func() { w.setPlaced(true, k) },
		Broken: func() { w.setPlaced(false, k) },
		Events: w.cfg.Events,
	}
}

func (w *Watcher) followerOfAll() feed.Follower {
	set := func(placed bool) {
		w.mu.Lock()
		w.crowd.placed = placed
		var keys []*key
		for _, k := range w.keys {
			if k.bulk {
				keys = append(keys, k)
			}
		}
		w.mu.Unlock()
		w.setPlaced(placed, keys...)
	}
	return feed.Follower{Placed: func() { set(true) }, Broken: func() { set(false) }, Events: w.cfg.Events}
}

// setPlaced notes whether the watches of keys are in place. If so it has them read.
func (w *Watcher) setPlaced(placed bool, keys ...*key) {
	w.mu.Lock()
	for _, k := range keys {
		k.placed = placed
	}
	if placed {
		w.enqueue(keys...)
	}
	w.mu.Unlock()
	w.startReading()
}

// placed notes that watches of the hub are in place.
func (w *Watcher) placed(names []string) {
	w.refused.Store(false)
	w.setPlaced(true, w.followed(names)...)
}

// followed returns those of the keys that are followed.
func (w *Watcher) followed(names []string) (keys []*key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range names {
		if k := w.keys[name]; k != nil {
			keys = append(keys, k)
		}
	}
	return keys
}

// broken notes that no watch of the hub is in place.
func (w *Watcher) broken(err error) {
	w.mu.Lock()
	for _, k := range w.keys {
		k.placed = false
	}
	w.mu.Unlock()
	if etcderr.Refused(rpctypes.Error(err)) && w.refused.CompareAndSwap(false, true) {
		w.cfg.Log.Warn("elock: holds are read, as etcd refuses to watch them", "owner", w.cfg.Owner, "err", err)
	}
}
