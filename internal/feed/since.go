package feed

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Since gives take every event of a key, or of what opts make of it, from the revision from on, in order. An event's revision
// is never split. It returns nil when take returns false, and after half a minute, in case that the watch went silent: then the
// caller begins anew after the last event. Otherwise it returns why the watch broke: rpctypes.ErrCompacted if events are not to be
// had any more.
//
// take may be slow: it delays nobody else.
func (h *Hub) Since(ctx context.Context, key string, from int64, take func([]*clientv3.Event) bool, opts ...clientv3.OpOption) error {
	h.count.Add(1) // so that the stream is probed
	defer h.count.Add(-1)
	h.startProbe()
	round, cancel := context.WithTimeout(ctx, maxRound)
	defer cancel()
	w, err := h.watch(round, key, append(opts, clientv3.WithRev(from)))
	if err != nil {
		return err
	}
	defer w.close()
	for {
		resp, ok := w.next()
		if err := w.take(resp, ok); err != nil {
			if !ok && w.created && round.Err() != nil {
				return nil
			}
			return err
		}
		if len(resp.Events) > 0 && !take(resp.Events) {
			return nil
		}
	}
}
