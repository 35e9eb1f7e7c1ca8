package queue

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/phpgao/elock/internal/place"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/internal/xctx"
)

// ErrTaken says that others are in the queue of a lock which was only tried.
var ErrTaken = errors.New("locker: others are in the queue")

// Obtain joins the queue and waits until e is the first in it. ctx bounds the wait,
// and so does the lease. blocked is called with who is directly ahead, and how many
// are ahead, 0 if that is not known; and again when that one changes. A try fails
// with ErrTaken instead of waiting. On failure e.Sent tells whether anything may be
// in etcd.
func (e *Entry) Obtain(ctx context.Context, try bool, blocked func(ahead *mvccpb.KeyValue, n int)) error {
	if e.Rev == 0 {
		if err := e.enter(ctx, try); err != nil {
			return err
		}
	}
	if e.First() {
		return nil
	}
	ctx, cancel := xctx.Merge(ctx, e.Lease.Waits())
	defer cancel()
	for !e.First() {
		e.Read = nil
		var err error
		ahead := e.Nearest()
		orphan := e.Find(e.set.cfg.GaveUp)
		switch {
		case ahead == nil:
			err = e.Look(ctx)
		case orphan != nil:
			err = e.overtake(ctx, orphan, try)
		case try && record.Retained(ahead) && e.Ahead() == 1:
			err = e.ask(ctx)
		default:
			blocked(ahead, e.Ahead())
			if try {
				return ErrTaken
			}
			err = e.Await(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// overtake removes an entry ahead that this process believes in no more, though
// etcd still does, and finds the place anew.
func (e *Entry) overtake(ctx context.Context, orphan *mvccpb.KeyValue, try bool) error {
	err := e.set.cfg.Etcd.Persist(ctx, func(ctx context.Context) error { return e.removeOrphan(ctx, orphan) })
	if err != nil {
		return err
	}
	if e.Rev == 0 {
		return e.enter(ctx, try)
	}
	return e.Look(ctx)
}

// AskPatience is how long a try waits for a process that retains the lock to say
// whether it is held.
const AskPatience = 250 * time.Millisecond

// ask queues behind a process that perhaps only retains the lock, and waits for it
// to give it up or to say that it holds it. It is for a try.
func (e *Entry) ask(ctx context.Context) error {
	if e.Rev == 0 {
		if err := e.enter(ctx, false); err != nil {
			return err
		}
		if !e.First() {
			e.Read = nil
		}
	}
	until := time.Now().Add(AskPatience)
	for wait := time.Millisecond; !e.First(); wait = xctx.Pause(ctx, wait) {
		ahead := e.Nearest()
		switch {
		case ctx.Err() != nil:
			return place.WaitEnd{Cause: context.Cause(ctx)}
		case ahead != nil && (!e.Only() || !record.Retained(ahead)), time.Now().After(until):
			e.ForgetAhead()
			return nil
		}
		if err := e.Look(ctx); err != nil {
			return err
		}
	}
	return nil
}
