package entry

import (
	"context"
	"errors"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/lease"
	"github.com/phpgao/elock/internal/place"
	"github.com/phpgao/elock/internal/queue"
	"github.com/phpgao/elock/internal/xctx"
	"github.com/phpgao/elock/keyspace"
)

// Acquire gets the lane of key and then the lock. If others of this process share the
// lock under an entry, the caller becomes one of them instead. ctx bounds the wait. A try
// fails with Config.Locked where another would wait.
//
// blocked is called when the caller has to wait, and again when the one directly ahead
// changes. If it ends the goroutine, all is as if Acquire had failed.
func (s *Set) Acquire(ctx context.Context, key keyspace.Key, as Caller, try bool, blocked func(Ahead)) (Grant, error) {
	for {
		e, nth, err := s.enterLane(ctx, key, &as, try, blocked)
		if err != nil {
			return Grant{}, err
		}
		if nth == 0 {
			return s.occupy(ctx, key, e, as, try, blocked)
		}
		g, err := e.grantShare(ctx, nth, as.Want.Reads)
		if err == nil {
			return g, nil
		}
		again, alone := s.mayRequeue(ctx, e, err), e.Sole()
		switch {
		case again && alone:
			e.requeuing(ctx, err)
			return s.occupy(ctx, key, nil, as, try, blocked)
		case !again && alone:
			err = s.Failure(ctx, err)
			Abandon(err, e)
			return Grant{}, err
		case !again:
			return Grant{}, s.Failure(ctx, err)
		}
	}
}

// occupy gets the lock of key, whose lane the caller has, or its seat there, with e in it
// unless that is nil.
func (s *Set) occupy(ctx context.Context, key keyspace.Key, e *Entry, as Caller, try bool, blocked func(Ahead)) (Grant, error) {
	if e != nil {
		e.seat = as.seat
	}
	if e != nil && !e.usable(&as.Want) {
		if err := e.discard(ctx); err != nil {
			return Grant{}, err
		}
		e = nil
	}
	for {
		if e == nil && (ctx.Err() != nil || s.cfg.Drain.Err() != nil) {
			// Nothing is sent: an entry that outlives the process may have the name of this one.
			s.Lanes.LeaveSeat(key, as.seat)
			return Grant{}, s.Failure(ctx, s.cfg.Locked)
		}
		if e == nil {
			l, err := s.cfg.Use(ctx, as.Want.Seconds)
			if err != nil {
				s.Lanes.LeaveSeat(key, as.seat)
				return Grant{}, err
			}
			e = s.newEntry(key, l, as)
		}
		g := Grant{Entry: e}
		err := e.obtain(ctx, try, blocked)
		if err == nil {
			g.Turn = e.turn
			g.Read, err = e.reading(ctx, &as.Want)
		}
		switch {
		case err == nil && as.Want.Shared:
			e.share()
			return g, nil
		case err == nil:
			return g, nil
		case s.mayRequeue(ctx, e, err):
			e.requeuing(ctx, err)
			e = nil
			continue
		}
		err = s.Failure(ctx, err)
		e.Read = nil
		// If we own the lock, it passes to the next waiter here; else the entry is removed.
		if !(e.Sent && e.First() && e.Pass(func() {})) {
			Abandon(err, e)
		}
		return Grant{}, err
	}
}

// discard removes e, which came with the lane and is of no use to the caller. If that
// fails, the caller does not have the lane any more.
func (e *Entry) discard(ctx context.Context) error {
	under, cancel := xctx.Merge(ctx, e.Lease.Waits())
	defer cancel()
	w := e.set.cfg.Etcd.Trying(under)
	defer w.Stop()
	if _, err := e.Leave(w); err != nil && e.Lease.Context().Err() == nil {
		err = e.set.Failure(ctx, err)
		Abandon(err, e)
		return err
	}
	e.Drop()
	return nil
}

// mayRequeue reports whether an acquire goes on after err: e has lost its place in
// the queue, and nothing else is wrong.
func (s *Set) mayRequeue(ctx context.Context, e *Entry, err error) bool {
	return ctx.Err() == nil && s.cfg.Drain.Err() == nil && (e.Lease.Context().Err() != nil || e.Lease.Lost() != 0 || errors.Is(err, place.ErrDisplaced))
}

// requeuing drops e, which has lost its place in the queue, before the caller goes to
// the end of it.
func (e *Entry) requeuing(ctx context.Context, err error) {
	e.set.cfg.Log.Info("elock: lost the place in the queue, queueing again", "key", e.Key.String(), "owner", e.set.cfg.Owner, "err", err)
	e.Drop()
	xctx.Pause(ctx, calls.FirstPause) // whoever deletes entries may do so again
}

// Failure returns why an acquire under ctx ends with err.
func (s *Set) Failure(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		ended := xctx.Err(ctx, s.cfg.Silent)
		if _, waited := errors.AsType[place.WaitEnd](err); waited || batch.NotApplied(err) || err == s.cfg.Locked {
			return ended
		}
		return xctx.Unheard(ended, s.cfg.Silent)
	case s.cfg.Drain.Err() != nil:
		return context.Cause(s.cfg.Drain)
	}
	return err
}

// Seize gets the locks of keys, each for one of the callers, in one transaction under a
// lease, if all of them are free, here and in etcd. What the last caller wants is read. On
// failure the caller must abandon the entries that it gets.
func (s *Set) Seize(ctx context.Context, l *lease.Lease, keys []keyspace.Key, callers []Caller) (entries []*Entry, err error) {
	err = ErrUnwanted // if a callback of etcd's client ends the goroutine
	defer func() {
		if err == ErrUnwanted {
			Abandon(err, entries...)
		}
	}()
	for i, key := range keys {
		as := callers[i]
		if !s.Lanes.Seize(key, as) {
			return entries, s.cfg.Locked
		}
		l.Join()
		if i < len(keys)-1 {
			as.Want.Reads = nil
		}
		entries = append(entries, s.newEntry(key, l, as))
	}
	return entries, s.enterAll(ctx, entries)
}

// enterAll puts entries of one lease into their queues if all of these are empty, and
// returns why they cannot all be held, if so.
func (s *Set) enterAll(ctx context.Context, entries []*Entry) error {
	all := make([]*queue.Entry, len(entries))
	for i, e := range entries {
		all[i] = &e.Entry
	}
	switch err := s.cfg.Queues.EnterAll(ctx, all); {
	case errors.Is(err, queue.ErrTaken):
		return s.cfg.Locked
	case err != nil:
		return err
	}
	for _, e := range entries {
		if err := e.check(ctx); err != nil {
			return err
		}
	}
	return nil
}
