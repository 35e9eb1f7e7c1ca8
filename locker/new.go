package locker

import (
	"context"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/callback"
	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/clock"
	"github.com/phpgao/elock/internal/feed"
	"github.com/phpgao/elock/internal/inspect"
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
	l.lanes = l.newLanes()
	l.leases = l.newLeases()
	l.feeds = feed.NewHub(feed.Config{Watcher: client.Watcher, Base: l.ctx, Spawn: l.spawn})
	l.losses = l.newLossWatcher()
	l.batch = batch.New(batch.Config{Txn: l.etcd.Txn, Limits: l.after, Silent: l.etcd.NoteSilence, Spawn: l.spawn, Alone: c.noBatching})
	l.queues = queue.NewSet(queue.Config{
		Config: place.Config{Etcd: l.etcd, Feeds: l.feeds, Puts: c.retain > 0},
		Batch:  l.batch, GaveUp: l.leases.GaveUp, Base: l.ctx, Spawn: l.spawn,
		Prefix: c.prefix, Owner: c.owner, Log: c.log,
	})
	l.retained = retain.New(retain.Config{Batch: l.batch, For: c.retain, Trust: maxHandoff, Drain: l.drain})
	l.inspector = &inspect.Inspector{Etcd: l.etcd, Queues: l.queues, Feeds: l.feeds, Prefix: c.prefix}
	l.spawn(l.monitor)
	l.spawn(l.losses.Run)
	return l, nil
}
