package feed

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/watchstream"
)

// startProbe has the stream probed.
func (h *Hub) startProbe() {
	if !h.probing.Load() && h.probing.CompareAndSwap(false, true) {
		h.pulse.Opened()
		h.cfg.Spawn(h.probe)
	}
}

// probe asks the stream for a sign of life while there are feeds, and replaces it when it owes one for too long.
func (h *Hub) probe() {
	tick := time.NewTicker(watchstream.Tick)
	defer tick.Stop()
	for {
		select {
		case <-h.cfg.Base.Done():
			return
		case <-tick.C:
		}
		if h.stopProbe() {
			return
		}
		ask, dead := h.pulse.Look()
		if dead {
			h.renew(h.streams.Context(context.Background()))
			h.pulse.Opened()
		}
		if ask {
			h.ask()
		}
	}
}

// stopProbe reports whether there is nothing to be probed. A feed that is opened meanwhile starts another probe, or has this one go on.
func (h *Hub) stopProbe() bool {
	if h.count.Load() > 0 {
		return false
	}
	h.probing.Store(false)
	return h.count.Load() == 0 || !h.probing.CompareAndSwap(false, true)
}

// ask asks for a response to all watches of the stream.
func (h *Hub) ask() {
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(h.streams.Context(h.cfg.Base)), watchstream.Tick)
	defer cancel()
	_ = h.cfg.Watcher.RequestProgress(ctx)
}
