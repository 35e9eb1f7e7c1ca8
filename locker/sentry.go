package locker

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// watchAfter is the age at which a hold's key is watched. Most holds end
	// before it.
	watchAfter = time.Second
	// maxWatches is how many holds are watched one by one. A Locker with more
	// old holds than that watches all its directory: one stream then costs
	// less than very many.
	maxWatches = 8
	// checkBatch is how many keys are looked up in one transaction; etcd
	// allows 128 by default.
	checkBatch = 64
)

// sentry notices when somebody deletes the key of a hold.
func (l *Locker) sentry() {
	var (
		single  []*Hold // with a watch each
		crowd   []*Hold // under the watch of the directory
		endWide context.CancelFunc
		tick    = time.NewTicker(watchAfter)
		ticking bool
	)
	tick.Stop()
	defer tick.Stop()
	for {
		select {
		case <-l.ctx.Done():
			if endWide != nil {
				endWide()
			}
			return
		case <-l.wake:
			if !ticking {
				tick.Reset(watchAfter)
				ticking = true
			}
			continue
		case <-tick.C:
		}
		single, crowd = live(single), live(crowd)
		old := l.holds.all(func(h *Hold) bool {
			if h.watched || time.Since(h.since) <= watchAfter {
				return false
			}
			h.watched = true // only this goroutine looks at it
			return true
		})
		for len(old) > 0 && len(single) < maxWatches && len(crowd) == 0 {
			h := old[0]
			single, old = append(single, h), old[1:]
			l.spawn(func() { l.followOne(h) })
		}
		if len(old) > 0 {
			crowd = append(crowd, old...)
			if endWide == nil {
				var ctx context.Context
				ctx, endWide = context.WithCancel(l.ctx)
				l.spawn(func() { l.followAll(ctx) })
			}
			l.spawn(func() { l.verify(l.ctx, old) })
		}
		if len(crowd) == 0 && endWide != nil {
			endWide()
			endWide = nil
		}
		if len(single)+len(crowd) == 0 {
			l.awake.Store(false)
			if ticking = !l.holds.empty(); ticking {
				l.awake.Store(true)
			} else {
				tick.Stop()
			}
		}
	}
}

func live(hs []*Hold) []*Hold {
	var alive []*Hold
	for _, h := range hs {
		if h.ending() == nil {
			alive = append(alive, h)
		}
	}
	return alive
}

func (l *Locker) followOne(h *Hold) {
	ctx, cancel := either(l.ctx, h.Context())
	defer cancel()
	l.follow(ctx, h.claim.name, func() []*Hold { return []*Hold{h} })
}

func (l *Locker) followAll(ctx context.Context) {
	all := func() []*Hold { return l.holds.all(func(*Hold) bool { return true }) }
	l.follow(ctx, l.root, all, clientv3.WithPrefix(), clientv3.WithFilterPut())
}

// follow watches a key, or what opts make of it, until ctx is done, and ends
// the holds whose keys are deleted. Once the watch is in place it verifies
// those that holds returns, for what happened before.
func (l *Locker) follow(ctx context.Context, key string, holds func() []*Hold, opts ...clientv3.OpOption) {
	opts = append(opts, clientv3.WithCreatedNotify(), clientv3.WithPrevKV())
	logged := false
	for wait := retryPause; ctx.Err() == nil; wait = pause(ctx, wait) {
		round, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), watchRound)
		for resp := range l.watcher.Watch(round, key, opts...) {
			if err := resp.Err(); refused(err) && !logged {
				l.log.Warn("elock: holds are not watched", "key", key, "owner", l.owner, "err", err)
				logged = true
			}
			if resp.Created {
				wait = retryPause
				l.verify(round, holds())
			}
			l.deleted(round, resp.Events)
		}
		cancel()
	}
}

// deleted ends the holds whose keys the events say are deleted.
func (l *Locker) deleted(ctx context.Context, events []*clientv3.Event) {
	var gone []*Hold
	for _, ev := range events {
		for _, h := range l.holds.get(ev.Kv.Key) {
			switch {
			case ev.Kv.ModRevision <= h.claim.rev:
			case ev.Type == clientv3.EventTypePut && h.claim.is(ev.Kv): // such as the mark of Evict
			case ev.Type == clientv3.EventTypePut:
				h.lose(KeyDeleted)
				l.spawn(func() { h.claim.removeOnce() })
			case evicted(ev):
				h.lose(Evicted)
			default:
				gone = append(gone, h)
			}
		}
	}
	l.gone(ctx, gone, func(*claim) Reason { return KeyDeleted })
}

// verify ends those of holds whose keys are not there any more.
func (l *Locker) verify(ctx context.Context, holds []*Hold) {
	size := checkBatch
	for wait := retryPause; len(holds) > 0 && ctx.Err() == nil; {
		batch := holds[:min(len(holds), size)]
		missing, err := l.missing(ctx, batch)
		if errors.Is(err, rpctypes.ErrTooManyOps) && size > 1 {
			size /= 2
			continue
		}
		if refused(err) {
			l.log.Warn("elock: holds cannot be checked", "owner", l.owner, "err", err)
			return
		}
		if err != nil {
			wait = pause(ctx, wait)
			holds = live(holds)
			continue
		}
		why := func(c *claim) Reason { return c.history(ctx) }
		if len(missing) > maxWatches {
			why = func(*claim) Reason { return KeyDeleted } // tell them soon
		}
		l.gone(ctx, missing, why)
		holds = holds[len(batch):]
	}
}

// missing returns those of holds whose keys are not there any more.
func (l *Locker) missing(ctx context.Context, holds []*Hold) (missing []*Hold, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ops := make([]clientv3.Op, len(holds))
	for i, h := range holds {
		ops[i] = clientv3.OpGet(h.claim.name)
	}
	resp, err := l.kv.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return nil, err
	}
	for i, h := range holds {
		kvs := resp.Responses[i].GetResponseRange().Kvs
		if len(kvs) == 0 || !h.claim.is(kvs[0]) {
			missing = append(missing, h)
		}
	}
	return missing, nil
}

// gone ends holds whose keys are deleted. why tells the reason unless the
// lease is gone with them.
func (l *Locker) gone(ctx context.Context, holds []*Hold, why func(*claim) Reason) {
	asked := make(map[*lease]bool)
	for _, h := range holds {
		s := h.claim.lease
		if !asked[s] {
			soon, cancel := context.WithTimeout(ctx, grace)
			if s.expired(soon) {
				s.lose(LeaseExpired) // and all holds under it
			}
			cancel()
		}
		asked[s] = true
		if h.ending() == nil {
			h.lose(why(h.claim))
		}
	}
}

// removeOnce deletes what somebody made of c's key, if etcd can be reached.
func (c *claim) removeOnce() {
	ctx := c.l.detached(c.l.ctx)
	defer ctx.stop()
	_, _ = c.remove(ctx)
}

// lose ends a hold whose key is gone.
func (h *Hold) lose(why Reason) {
	if !h.end(&LostError{Reason: why, Token: h.token}) {
		return
	}
	h.ended()
	l := h.claim.l
	l.log.Warn("elock: lock lost", "key", h.Key().String(), "reason", why.String(), "owner", l.owner)
	h.claim.done()
}

// expired reports whether etcd says that the lease is gone. It asks until etcd
// answers or ctx is done.
func (s *lease) expired(ctx context.Context) bool {
	for wait := retryPause; ctx.Err() == nil; wait = pause(ctx, wait) {
		try, cancel := context.WithTimeout(ctx, grace)
		resp, err := s.l.leaser.TimeToLive(try, s.id)
		cancel()
		if err == nil {
			return resp.GrantedTTL == 0 // of a lease that lives, less than a second may be left: 0
		}
	}
	return false
}

// fate finds out why the entry of c is gone, which this Locker did not remove.
func (c *claim) fate(ctx context.Context) Reason {
	why := c.history(ctx)
	if why != KeyDeleted {
		return why
	}
	expired := c.lease.lost.Load() == 0 && c.lease.expired(ctx)
	switch lost := Reason(c.lease.lost.Load()); {
	case lost != 0:
		return lost
	case expired && !c.l.closed.Load(): // Close revokes it
		return LeaseExpired
	}
	return KeyDeleted
}

// history finds out how the entry of c was deleted in the past.
func (c *claim) history(ctx context.Context) Reason {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	ev, compacted, err := c.deletion(ctx, c.rev+1)
	if compacted > c.rev {
		ev, _, err = c.deletion(ctx, compacted)
	}
	if err == nil && evicted(ev) {
		return Evicted
	}
	return KeyDeleted
}

// deletion returns the event with which c's entry went, at the revision from or
// later. It waits for it. If that may be in a past that is compacted, it fails and
// returns the first revision that is not.
func (c *claim) deletion(ctx context.Context, from int64) (ev *clientv3.Event, compacted int64, err error) {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	past := c.l.watcher.Watch(ctx, c.name, clientv3.WithRev(from), clientv3.WithFilterPut(), clientv3.WithPrevKV())
	for resp := range past {
		if err := resp.Err(); err != nil {
			return nil, resp.CompactRevision, err
		}
		if len(resp.Events) > 0 {
			return resp.Events[0], 0, nil
		}
	}
	return nil, 0, ErrUnavailable
}

// evicted reports whether it was Evict that deleted a key: the last value says.
func evicted(ev *clientv3.Event) bool {
	return ev.PrevKv != nil && marked(ev.PrevKv)
}

// marked reports whether the record says that Evict takes the lock away.
func marked(kv *mvccpb.KeyValue) bool {
	r, ok := parseRecord(kv.Value)
	return ok && r.Evicted
}
