package place

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/etcderr"
	"github.com/phpgao/elock/internal/feed"
	"github.com/phpgao/elock/internal/xctx"
)

// An outlook is what a feed says of the entries ahead of an entry.
type outlook int

const (
	behind    outlook = iota // the nearest is there, and the feed tells when it goes
	advanced                 // it is gone, and the place is known anew
	unseen                   // the feed began after the place was known: see whether the nearest is there
	uncertain                // that cannot be said: look
	blind                    // no watch is in place: look after a pause
	displaced                // the entry itself is gone
	passing                  // the nearest is gone, and may have told the entry its turn
)

// maxPause is the longest pause before a waiter without a watch looks again.
const maxPause = time.Second

// unprovenPause is how long a waiter trusts a watch whose stream may have gone
// silent unnoticed.
const unprovenPause = 5 * time.Second

// silence is how long a look has no answer before a wait that ends with it says that etcd is silent.
const silence = calls.Grace

// A WaitEnd is why a wait for other owners ended. Every other error is that of a call to etcd.
type WaitEnd struct{ Cause error }

func (w WaitEnd) Error() string { return w.Cause.Error() }
func (w WaitEnd) Unwrap() error { return w.Cause }

// Await waits until the nearest entry ahead has ended, and finds the place
// anew. It may return earlier.
func (p *Place) Await(ctx context.Context) error {
	v := p.view()
	defer func() { v.close() }()
	nearest := p.Nearest()
	unanswered := false // etcd did not answer the last look
	look := func(once func(context.Context) error) error {
		asked, failed := time.Now(), false
		err := p.cfg.Etcd.Persist(ctx, func(ctx context.Context) error {
			err := once(ctx)
			failed = failed || etcderr.Passing(err)
			return err
		})
		// One that ctx has cut short says nothing of etcd, unless a try has failed.
		unanswered = err != nil && (unanswered || ctx.Err() == nil || failed || time.Since(asked) >= silence)
		return err
	}
	// The first pause is longer than that of the feed, which tries to watch again meanwhile.
	for wait := 2 * calls.FirstPause; ; {
		turn := v.turn()
		if p.takeTurn(turn.Put) {
			p.lookBehind()
			return nil
		}
		now, changed := p.consult(v)
		var pause <-chan time.Time
		switch now {
		case displaced:
			return ErrDisplaced
		case advanced:
			return nil
		case unseen:
			if now = uncertain; ctx.Err() != nil {
				break
			}
			there := false
			_ = look(func(ctx context.Context) (err error) {
				there, err = p.lookAtNearest(ctx)
				return err
			})
			if there {
				continue
			}
		case passing:
			if turn.Since == 0 { // no watch tells of it
				now = uncertain
				break
			}
			pause = time.After(turnPatience)
		case blind:
			pause = time.After(max(wait, p.cfg.Feeds.Pace()))
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
			case <-turn.Changed:
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
		err := look(p.LookOnce)
		switch {
		case errors.Is(err, ErrDisplaced) || batch.NotApplied(err) && ctx.Err() == nil:
			return err
		case err != nil:
			wait = xctx.Pause(ctx, wait)
		case !same(p.Nearest(), nearest):
			return nil
		default:
			old := v
			v = p.view()
			old.close()
			nearest, wait = p.Nearest(), min(2*wait, maxPause)
		}
	}
}

// A view is what a waiter sees of those ahead.
type view struct {
	*feed.Feed
	rival *mvccpb.KeyValue // the nearest: while it is there, the entry waits
	turns *feed.Feed       // tells when the entry is told its turn; nil near the head of the queue
}

func (v *view) close() {
	v.Close()
	if v.turns != nil {
		v.turns.Close()
	}
}

// far reports whether the entry follows only the nearest one ahead.
func (p *Place) far() bool { return !p.complete && p.Slots == 0 }

// view opens the feed that tells what becomes of those ahead, and of the entry itself: that of
// the directory near the head of the queue, and otherwise those of the entry directly ahead and of its own, so
// that a release does not wake a long queue. One that waits for slots holds when enough of those
// ahead are gone, whichever they are, and the one directly ahead may hold long before it goes.
func (p *Place) view() view {
	if !p.far() {
		return view{Feed: p.Feed(), rival: p.Nearest()}
	}
	v := view{Feed: p.cfg.Feeds.Open(string(p.Nearest().Key), clientv3.WithFilterPut()), rival: p.Nearest()}
	if p.takesTurns() {
		v.turns = p.cfg.Feeds.OpenPuts(p.Name)
	}
	return v
}

// consult finds out what v says of those ahead, and returns what is closed when that changes.
func (p *Place) consult(v view) (now outlook, changed <-chan struct{}) {
	v.Read(func(s feed.State) {
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
		case sure && p.behind(taken) && left[0].KeyValue == v.rival:
			p.ahead = left
			now = behind
		case sure && p.complete:
			if taken <= p.Room() {
				left = nil
			}
			p.ahead, p.n = left, len(left)
			now = advanced
		case sure:
			now = passing
		case s.Deleted(string(v.rival.Key)) > v.rival.CreateRevision:
			now = uncertain
		case live && p.far() && p.Nearest() == v.rival:
			now = unseen
		case live:
			now = uncertain
		default:
			now = blind
		}
	})
	return now, changed
}

// same reports whether two keys, of which the first may be nil, are one entry.
func same(a, b *mvccpb.KeyValue) bool {
	return a != nil && a.CreateRevision == b.CreateRevision
}

// Feed returns the feed of the lock's directory. It tells of new entries if Config.Puts
// says so.
func (p *Place) Feed() *feed.Feed {
	if p.cfg.Puts {
		return p.cfg.Feeds.Open(p.Dir, clientv3.WithPrefix())
	}
	return p.cfg.Feeds.Open(p.Dir, clientv3.WithPrefix(), clientv3.WithFilterPut())
}
