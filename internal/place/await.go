package place

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/feed"
	"github.com/phpgao/elock/internal/xctx"
)

// An outlook is what a feed says of the entries ahead of an entry.
type outlook int

const (
	behind    outlook = iota // the nearest is there, and the feed tells when it goes
	advanced                 // it is gone, and the place is known anew
	uncertain                // that cannot be said: look
	blind                    // no watch is in place: look after a pause
	displaced                // the entry itself is gone
)

// maxPause is the longest pause before a waiter without a watch looks again.
const maxPause = time.Second

// unprovenPause is how long a waiter trusts a watch whose stream may have gone
// silent unnoticed.
const unprovenPause = 5 * time.Second

// A WaitEnd is why a wait for other owners ended. Every other error is that of a call to etcd.
type WaitEnd struct{ Cause error }

func (w WaitEnd) Error() string { return w.Cause.Error() }
func (w WaitEnd) Unwrap() error { return w.Cause }

// Await waits until the nearest entry ahead has ended, and finds the place
// anew. It may return earlier.
func (p *Place) Await(ctx context.Context) error {
	v := p.view(!p.complete)
	defer func() { v.close() }()
	nearest := p.Nearest()
	unanswered := false // etcd did not answer the last look
	// The first pause is longer than that of the feed, which tries to watch again meanwhile.
	for wait := 2 * calls.FirstPause; ; {
		now, changed, also := p.consult(v)
		var pause <-chan time.Time
		switch now {
		case displaced:
			return ErrDisplaced
		case advanced:
			return nil
		case blind:
			pause = time.After(wait)
		case behind:
			if !p.cfg.Feeds.Proven() {
				pause = time.After(unprovenPause)
			}
		}
		if now != uncertain {
			select {
			case <-ctx.Done():
			case <-changed:
				continue
			case <-also:
				continue
			case <-pause:
				if now == behind && p.cfg.Feeds.Proven() { // meanwhile
					continue
				}
			}
		}
		if ctx.Err() != nil {
			if unanswered {
				return context.Cause(ctx)
			}
			return WaitEnd{context.Cause(ctx)}
		}
		err := p.Look(ctx)
		unanswered = err != nil
		switch {
		case errors.Is(err, ErrDisplaced) || batch.NotApplied(err) && ctx.Err() == nil:
			return err
		case err != nil:
			wait = xctx.Pause(ctx, wait)
		case !same(p.Nearest(), nearest):
			return nil
		default:
			old := v
			v = p.view(v.far)
			old.close()
			nearest, wait = p.Nearest(), min(2*wait, maxPause)
		}
	}
}

// A view is what a waiter sees of those ahead.
type view struct {
	feed  *feed.Feed       // tells what becomes of rival, and perhaps of others
	rival *mvccpb.KeyValue // is ahead: while it is there, the entry waits
	near  *feed.Feed       // tells what becomes of the nearest, if rival is not the nearest; or nil
	far   bool             // it began far back in the queue
}

// view opens the feeds that tell what becomes of those ahead. Near the head of the queue it is
// that of the directory. Who began far back follows the two entries directly ahead, so that a
// release does not wake a long queue: when the second of them goes, the waiter finds out that
// the nearest is the only one left, while that holds the lock, and need not look again. One that
// waits for slots holds when enough of those ahead are gone, whichever they are, and the one
// directly ahead may hold long before it goes.
func (p *Place) view(far bool) *view {
	if !far || p.Slots > 0 {
		return &view{feed: p.Feed(), rival: p.Nearest()}
	}
	near := p.feedOf(p.ahead[0])
	if len(p.ahead) == 1 {
		return &view{feed: near, rival: p.Nearest(), far: true}
	}
	return &view{feed: p.feedOf(p.ahead[1]), rival: p.ahead[1].KeyValue, near: near, far: true}
}

func (v *view) close() {
	v.feed.Close()
	if v.near != nil {
		v.near.Close()
	}
}

// consult finds out what v says of those ahead, and returns what is closed when that changes.
func (p *Place) consult(v *view) (now outlook, changed, also <-chan struct{}) {
	v.feed.Read(func(s feed.State) {
		changed = s.Changed
		live := s.Since != 0
		sure := live && s.Since <= p.asOf // it has missed nothing since then
		left, taken := make([]rival, 0, len(p.ahead)), 0
		for _, o := range p.ahead {
			if s.Deleted(string(o.Key)) <= o.CreateRevision {
				left, taken = append(left, o), taken+o.takes
			}
		}
		switch {
		case s.Deleted(p.Name) > p.Rev:
			now = displaced
		case sure && p.behind(taken) && slices.ContainsFunc(left, func(o rival) bool { return o.KeyValue == v.rival }):
			p.ahead = left
			now = behind
		case sure && p.complete && v.near == nil:
			if taken <= p.Room() {
				left = nil
			}
			p.ahead, p.n = left, len(left)
			now = advanced
		case live:
			now = uncertain
		default:
			now = blind
		}
	})
	if v.near != nil {
		v.near.Read(func(s feed.State) {
			also = s.Changed
			if nearest := p.ahead[0]; now == behind && s.Deleted(string(nearest.Key)) > nearest.CreateRevision {
				now = uncertain
			}
		})
	}
	return now, changed, also
}

// same reports whether two keys, of which the first may be nil, are one entry.
func same(a, b *mvccpb.KeyValue) bool {
	return a != nil && a.CreateRevision == b.CreateRevision
}

// feedOf returns the feed of one entry ahead.
func (p *Place) feedOf(o rival) *feed.Feed {
	return p.cfg.Feeds.Open(string(o.Key), clientv3.WithFilterPut())
}

// Feed returns the feed of the lock's directory. It tells of new entries if Config.Puts
// says so.
func (p *Place) Feed() *feed.Feed {
	if p.cfg.Puts {
		return p.cfg.Feeds.Open(p.Dir, clientv3.WithPrefix())
	}
	return p.cfg.Feeds.Open(p.Dir, clientv3.WithPrefix(), clientv3.WithFilterPut())
}
