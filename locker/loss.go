package locker

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/entry"
	"github.com/phpgao/elock/internal/keywatch"
	"github.com/phpgao/elock/internal/losswatch"
	"github.com/phpgao/elock/internal/queue"
	"github.com/phpgao/elock/internal/record"
)

// newLossWatcher returns what notices when somebody deletes the entry of a hold.
func (l *Locker) newLossWatcher() *losswatch.Watcher {
	return losswatch.New(losswatch.Config{
		Base:    l.ctx,
		Spawn:   l.spawn,
		Stream:  keywatch.Opener(l.client),
		Hub:     l.feeds,
		Root:    l.root,
		Read:    l.etcd.Read,
		Entries: l.heldEntries,
		Events:  l.entriesChanged,
		Put:     l.entriesPut,
		Missing: l.entriesMissing,
		Log:     l.log,
		Owner:   l.owner,
	})
}

// heldEntries yields the entries of all holds, and since when these are held. It does so under a mutex: yield must not wait.
func (l *Locker) heldEntries(yield func(losswatch.Entry, time.Time) bool) {
	l.holds.Each(func(h *Hold) bool {
		e := h.entry
		return yield(losswatch.Entry{Key: e.Name, Rev: e.Rev, Lease: int64(e.Lease.ID()), Ask: int(e.Asks.Load())}, h.since)
	})
}

// entriesChanged ends the holds whose entries the events say are gone.
func (l *Locker) entriesChanged(events []*clientv3.Event) {
	var gone []*Hold
	for _, ev := range events {
		for _, h := range l.holds.Get(string(ev.Kv.Key)) {
			switch {
			case ev.Kv.ModRevision <= h.entry.Rev:
			case ev.Type == clientv3.EventTypePut && h.entry.Is(ev.Kv): // the mark of Evict, a request, or a turn
				h.request(record.Requested(ev.Kv))
			case ev.Type == clientv3.EventTypePut:
				l.spawn(func() { h.lose(ReasonKeyDeleted); l.removeOnce(h.entry) })
			case record.Evicted(ev.PrevKv):
				l.spawn(func() { h.lose(ReasonEvicted) })
			default:
				gone = append(gone, h)
			}
		}
	}
	l.loseDeleted(gone, false)
}

// entriesMissing ends the holds whose entries are not there any more.
func (l *Locker) entriesMissing(missing []losswatch.Entry) {
	var gone []*Hold
	for _, e := range missing {
		for _, h := range l.holds.Get(e.Key) {
			if h.entry.Rev == e.Rev {
				gone = append(gone, h)
			}
		}
	}
	l.loseDeleted(gone, true)
}

// loseDeleted ends holds whose entries are deleted. It does not wait: the reason
// is asked of etcd for all of them at once, while their contexts are to end soon.
// past says that they may have been evicted.
func (l *Locker) loseDeleted(holds []*Hold, past bool) {
	if len(holds) == 0 {
		return
	}
	l.spawn(func() {
		ctx, cancel := context.WithTimeout(l.ctx, calls.Grace)
		defer cancel()
		entries := make([]*queue.Entry, len(holds))
		for i, h := range holds {
			entries[i] = &h.entry.Entry
		}
		l.queues.Fates(ctx, entries, past, func(i int, evicted bool) {
			if evicted {
				holds[i].lose(ReasonEvicted)
			} else {
				holds[i].lose(ReasonKeyDeleted)
			}
		})
	})
}

// removeOnce deletes what somebody made of e's key, if etcd can be reached.
func (l *Locker) removeOnce(e *entry.Entry) {
	ctx := l.etcd.Detached(l.ctx)
	defer ctx.Stop()
	_ = calls.Retry(ctx, func(ctx context.Context) error { // not Leave: others may be about to remove e, too
		_, _, err := l.queues.Delete(ctx, e.Key, e.Name, e.Rev)
		return err
	})
}

// lose ends a hold whose key is gone.
func (h *Hold) lose(why Reason) {
	done, others := h.end(&LostError{Reason: why, Token: h.token})
	if !done {
		return
	}
	l := h.l
	l.finish([]*Hold{h}, (*Hold).endedInEtcd)
	l.finish(others, (*Hold).endedWithOthers)
	l.log.Warn("elock: lock lost", "key", h.Key().String(), "reason", why.String(), "owner", l.owner)
}
