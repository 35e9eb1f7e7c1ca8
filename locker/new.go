package locker

import (
	"context"
	"reflect"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/callback"
	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/clock"
	"github.com/phpgao/elock/internal/entry"
	"github.com/phpgao/elock/internal/feed"
	"github.com/phpgao/elock/internal/inspect"
	"github.com/phpgao/elock/internal/lease"
	"github.com/phpgao/elock/internal/linger"
	"github.com/phpgao/elock/internal/optimistic"
	"github.com/phpgao/elock/internal/place"
	"github.com/phpgao/elock/internal/queue"
	"github.com/phpgao/elock/internal/retain"
	"github.com/phpgao/elock/internal/xctx"
	"github.com/phpgao/elock/keyspace"
)

// New returns a Locker that uses the KV, Lease and Watcher of client, which it
// never closes. It sends nothing to etcd. If an option or the client is bad, New
// returns nil and an error that matches ErrInvalidOption.
func New(client *clientv3.Client, opts ...Option) (*Locker, error) {
	c := newConfig(opts)
	switch {
	case client == nil:
		c.fail(invalid("nil client"))
	case client.KV == nil || client.Lease == nil || client.Watcher == nil:
		c.fail(invalid("client without KV, Lease or Watcher"))
	}
	if c.err != nil {
		return nil, &Error{Op: "new", Err: c.err}
	}
	c.log = callback.Logger(c.log)
	l := &Locker{
		config:    c,
		client:    client,
		etcd:      calls.New(client, ErrUnavailable),
		hooks:     newHooks(c.hook, c.log, c.owner),
		root:      strings.TrimSuffix(keyspace.MustParse("x").Path(c.prefix), "x/"),
		now:       clock.Read,
		closeTurn: make(chan struct{}, 1),
	}
	l.drain, l.stopAcquires = context.WithCancelCause(context.Background())
	l.ctx, l.stopAll = context.WithCancelCause(context.Background())
	l.after = xctx.NewLimiter(xctx.After(l.ctx, calls.Grace))
	l.grants, l.stopGrants = context.WithCancelCause(context.Background())
	l.leases = l.newLeases()
	l.feeds = feed.NewHub(feed.Config{Watcher: client.Watcher, Base: l.ctx, Spawn: l.spawn})
	l.losses = l.newLossWatcher()
	l.batch = l.newBatcher(l.after)
	l.queues = queue.NewSet(queue.Config{
		Config: place.Config{Etcd: l.etcd, Batch: l.batch, Feeds: l.feeds, Puts: c.retain > 0, Base: l.ctx, Spawn: l.spawn},
		GaveUp: l.leases.GaveUp, Prefix: c.prefix, Owner: c.owner, Log: c.log,
	})
	l.entries = l.newEntries()
	l.lingering = linger.Config{Etcd: l.etcd, Queues: l.queues, Feeds: l.feeds, Drain: l.drain, Grants: l.grants, Base: l.ctx}
	l.inspector = &inspect.Inspector{Etcd: l.etcd, Queues: l.queues, Feeds: l.feeds, Prefix: c.prefix}
	l.updates = l.newUpdates()
	l.ctx = optimistic.With(l.ctx, l.updates)
	l.spawn(l.monitor)
	l.spawn(l.losses.Run)
	return l, nil
}

func (l *Locker) newEntries() *entry.Set {
	return entry.NewSet(entry.Config{
		Etcd: l.etcd, Queues: l.queues, Use: l.use, Drain: l.drain, Spawn: l.spawn,
		Retained: retain.New(retain.Config{Batch: l.batch, For: l.retain, Trust: maxHandoff, Drain: l.drain}),
		Handoff:  l.handoff, Retains: l.retain > 0, Turns: 1<<tokenShift - 1,
		Locked: ErrLocked, Silent: ErrUnavailable, Released: ErrReleased,
		Lost:  func(why lease.Loss) error { return &LostError{Reason: reasonOf(why)} },
		Owner: l.owner, Log: l.log,
	})
}

func (l *Locker) newBatcher(limits *xctx.Limiter) *batch.Batcher {
	return batch.New(batch.Config{Txn: l.etcd.Txn, Limits: limits, Silent: l.etcd.NoteSilence, Spawn: l.spawn, Alone: l.noBatching})
}

// newUpdates makes what package guard finds in the context of l, to change values without their locks.
func (l *Locker) newUpdates() *optimistic.Table[AcquireOption] {
	limits := xctx.NewPatient(l.after.Parent(), calls.Patience)
	return optimistic.New(optimistic.Config[AcquireOption]{
		Etcd: l.etcd, Batch: l.newBatcher(limits), Limits: limits, Ended: l.ctx, Prefix: l.prefix,
		Admits: func(ctx context.Context, key keyspace.Key, opts []AcquireOption) bool {
			r, err := l.admit(ctx, key, false, opts)
			lockOnly := request{ttl: r.ttl, maxHeld: r.maxHeld, Want: entry.Want{Seconds: r.Seconds}}
			return err == nil && (len(opts) == 0 || reflect.DeepEqual(r, lockOnly))
		},
		Seize: func(key keyspace.Key) bool {
			return l.entries.Lanes.Seize(key, entry.Caller{Name: l.owner, Since: time.Now()})
		},
		Leave: l.entries.Lanes.Leave,
	})
}
