package locker

import (
	"context"
	"errors"
	"strconv"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/keyspace"
)

// A claim is an entry in the queue of a lock in etcd: a key in the lock's
// directory, attached to a lease. The order of create revisions is the queue,
// and the first in it holds the lock. Keys without a lease are not entries:
// nobody who waits or holds ever leaves one.
//
// A claim belongs to the goroutine that occupies the key's lane.
type claim struct {
	l     *Locker
	key   keyspace.Key
	lease *lease
	dir   string // the lock's directory
	name  string // the entry's key
	value string // its record
	nonce uint64 // in the record; no other claim of the Locker has it
	rev   int64  // its create revision; 0 until known
	sent  bool   // it may be in etcd
}

// errDisplaced says that the entry was deleted by somebody else.
var errDisplaced = errors.New("locker: queue entry was deleted")

func (l *Locker) newClaim(key keyspace.Key, s *lease, who Owner) *claim {
	dir := key.Path(l.prefix)
	nonce := l.nonce.Add(1)
	return &claim{
		l:     l,
		key:   key,
		lease: s,
		dir:   dir,
		nonce: nonce,
		name:  dir + strconv.FormatInt(int64(s.id), 16),
		value: record{
			Version:     recordVersion,
			Owner:       who.Name,
			Mode:        exclusive,
			Since:       who.Since,
			Nonce:       nonce,
			Annotations: who.Annotations,
		}.encode(),
	}
}

// obtain gets the lock: when it returns nil, c is the first in the queue. ctx
// bounds the wait. On failure c.sent tells whether anything may be in etcd.
func (c *claim) obtain(ctx context.Context, try bool, blocked func(BlockedData)) error {
	ctx, cancel := either(ctx, c.lease.waits)
	defer cancel()
	// A write that is cancelled on its way may commit after it was looked for:
	// so wait a little for its answer.
	write, stop := linger(ctx, grace/2) // the clean-up gets the other half
	defer stop()
	ahead, n, err := c.enter(write, try)
	for ahead != nil && err == nil {
		if c.l.gaveUp(ahead) {
			ahead, n, err = c.overtake(write, ahead, try)
			continue
		}
		blocked(BlockedData{Key: c.key, By: ownerOf(ahead), Ahead: n})
		if try {
			return ErrLocked
		}
		n = 0 // as known when c came last
		ahead, err = c.await(ctx, ahead)
	}
	if err == nil && c.lease.remaining() <= 0 {
		c.lease.lose(Deadline)
	}
	if err != nil {
		return err
	}
	// An end that comes together with the grant comes before it.
	if c.lease.waits.Err() != nil {
		return context.Cause(c.lease.waits)
	}
	return context.Cause(ctx)
}

// overtake removes an entry ahead that this Locker believes in no more, though
// etcd still does, and returns what is ahead then.
func (c *claim) overtake(ctx context.Context, ghost *mvccpb.KeyValue, try bool) (ahead *mvccpb.KeyValue, n int, err error) {
	if err := c.removeGhost(ctx, ghost); err != nil {
		return nil, 0, err
	}
	if c.rev == 0 {
		return c.enter(ctx, try)
	}
	ahead, err = c.look(ctx)
	return ahead, 0, err
}

// enter joins the queue and returns the entry directly ahead, or nil if there
// is none, and how many are ahead. A try joins only an empty queue, and
// otherwise returns the first entry.
func (c *claim) enter(ctx context.Context, try bool) (ahead *mvccpb.KeyValue, n int, err error) {
	c.sent = true
	for {
		if try {
			ahead, err = c.putIfFree(ctx)
		} else {
			ahead, n, err = c.put(ctx)
		}
		switch {
		case err == nil:
			c.sent = c.rev != 0
			return ahead, n, nil
		case errors.Is(err, errStale):
			continue
		case errors.Is(err, rpctypes.ErrLeaseNotFound):
			c.lease.lose(LeaseExpired)
			fallthrough
		case refused(err):
			c.sent = false
			return nil, 0, err
		}
		// The answer is lost, but perhaps the entry is there.
		if found, ferr := c.find(ctx); ferr != nil || !found {
			return nil, 0, err
		}
		ahead, err = c.look(ctx)
		return ahead, 0, err
	}
}

// errStale says that the name was taken by an older claim, now removed.
var errStale = errors.New("locker: stale queue entry")

func (c *claim) put(ctx context.Context) (ahead *mvccpb.KeyValue, n int, err error) {
	resp, err := c.l.kv.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(c.name), "=", 0)).
		Then(
			clientv3.OpPut(c.name, c.value, clientv3.WithLease(c.lease.id)),
			clientv3.OpGet(c.dir, clientv3.WithPrefix(), clientv3.WithLimit(2), // itself and the one ahead
				clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend)),
		).
		Else(clientv3.OpGet(c.name)).
		Commit()
	if err != nil {
		return nil, 0, err
	}
	if !resp.Succeeded {
		return nil, 0, c.clear(ctx, resp.Responses[0].GetResponseRange().Kvs[0])
	}
	c.rev = resp.Header.Revision
	queue := resp.Responses[1].GetResponseRange()
	if len(queue.Kvs) < 2 {
		return nil, 0, nil
	}
	ahead = queue.Kvs[1]
	if ahead.Lease == 0 {
		ahead, err = c.look(ctx)
	}
	return ahead, int(queue.Count) - 1, err
}

func (c *claim) putIfFree(ctx context.Context) (first *mvccpb.KeyValue, err error) {
	resp, err := c.l.kv.Txn(ctx).
		If(clientv3.Compare(clientv3.LeaseValue(c.dir).WithPrefix(), "=", clientv3.NoLease)).
		Then(clientv3.OpPut(c.name, c.value, clientv3.WithLease(c.lease.id))).
		Else(clientv3.OpGet(c.dir, clientv3.WithFirstCreate()...)).
		Commit()
	if err != nil {
		return nil, err
	}
	if resp.Succeeded {
		c.rev = resp.Header.Revision
		return nil, nil
	}
	first = resp.Responses[0].GetResponseRange().Kvs[0]
	if string(first.Key) == c.name {
		return nil, c.clear(ctx, first)
	}
	return first, nil
}

// clear removes what an older claim of this process left under c's name: a
// write that was given up and committed late.
func (c *claim) clear(ctx context.Context, old *mvccpb.KeyValue) error {
	if err := c.removeGhost(ctx, old); err != nil {
		return err
	}
	return errStale
}

// removeGhost deletes an entry of this Locker that no claim stands for any more.
func (c *claim) removeGhost(ctx context.Context, ghost *mvccpb.KeyValue) error {
	deleted, err := c.l.deleteRevision(ctx, string(ghost.Key), ghost.CreateRevision)
	if deleted {
		c.l.log.Info("elock: removed an entry left behind", "key", c.key.String(), "owner", c.l.owner)
	}
	return err
}

// is reports whether kv is c's entry. Written over by hand, without the lease,
// it is nobody's.
func (c *claim) is(kv *mvccpb.KeyValue) bool {
	return kv.CreateRevision == c.rev && kv.Lease == int64(c.lease.id)
}

// find reports whether c's own write was committed.
func (c *claim) find(ctx context.Context) (bool, error) {
	resp, err := c.l.kv.Get(ctx, c.name)
	if err != nil || len(resp.Kvs) == 0 {
		return false, err
	}
	if r, ok := parseRecord(resp.Kvs[0].Value); !ok || r.Nonce != c.nonce {
		return false, nil
	}
	c.rev = resp.Kvs[0].CreateRevision
	return true, nil
}

// look returns the entry directly ahead of c, or nil if c is the first.
func (c *claim) look(ctx context.Context) (*mvccpb.KeyValue, error) {
	before := clientv3.WithMaxCreateRev(c.rev - 1)
	resp, err := c.l.kv.Txn(ctx).Then(
		clientv3.OpGet(c.name), // whole: a key alone comes without its lease
		clientv3.OpGet(c.dir, append(clientv3.WithLastCreate(), before)...),
	).Commit()
	if err != nil {
		return nil, err
	}
	own := resp.Responses[0].GetResponseRange().Kvs
	if len(own) == 0 || !c.is(own[0]) {
		return nil, errDisplaced
	}
	ahead := resp.Responses[1].GetResponseRange().Kvs
	if len(ahead) == 0 || ahead[0].Lease != 0 {
		return first(ahead), nil
	}
	all, err := c.l.kv.Get(ctx, c.dir, clientv3.WithPrefix(), before,
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend))
	if err != nil {
		return nil, err
	}
	return first(leased(all.Kvs)), nil
}

// await waits until the entry ahead has ended, or may have, and returns the
// entry that is then directly ahead, or nil.
func (c *claim) await(ctx context.Context, ahead *mvccpb.KeyValue) (*mvccpb.KeyValue, error) {
	for wait := retryPause; ; {
		next, err := c.watch(ctx, ahead)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, errDisplaced) || refused(err):
			return nil, err
		case err == nil && (next == nil || next.CreateRevision != ahead.CreateRevision):
			return next, nil
		}
		wait = pause(ctx, wait)
	}
}

// watch waits for one round. It watches from now on, without a start revision:
// etcd serves a watch that starts in the past from a slow group, only every
// 100ms. What happened before the watch was in place is found by looking again.
// A round is bounded, so that a watch that went silent is replaced.
func (c *claim) watch(ctx context.Context, ahead *mvccpb.KeyValue) (*mvccpb.KeyValue, error) {
	round, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), watchRound)
	defer cancel()
	for resp := range c.l.watcher.Watch(round, string(ahead.Key), clientv3.WithCreatedNotify(), clientv3.WithFilterPut()) {
		switch {
		case resp.Err() != nil:
		case resp.Created:
			next, err := c.look(round)
			if err != nil || next == nil || next.CreateRevision != ahead.CreateRevision {
				return next, err
			}
		case len(resp.Events) > 0:
			return c.look(ctx)
		}
	}
	return c.look(ctx)
}

// remove deletes c's entry and no other, and reports whether it was there.
func (c *claim) remove(ctx context.Context) (bool, error) {
	if c.rev == 0 {
		if found, err := c.find(ctx); err != nil || !found {
			return false, err
		}
	}
	return c.l.deleteRevision(ctx, c.name, c.rev)
}

// done gives up the lane and the lease. c is not in etcd any more, or ends
// there with its lease.
func (c *claim) done() {
	c.l.unuse(c.lease)
	c.l.lanes.leave(c.key)
}

// deleteRevision deletes the key with that create revision and no other, and
// reports whether it was there.
func (l *Locker) deleteRevision(ctx context.Context, name string, rev int64) (bool, error) {
	resp, err := l.kv.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(name), "=", rev)).
		Then(clientv3.OpDelete(name)).
		Commit()
	if err != nil {
		return false, err
	}
	return resp.Succeeded, nil
}

// leased drops the keys that are not entries of a queue.
func leased(kvs []*mvccpb.KeyValue) []*mvccpb.KeyValue {
	var entries []*mvccpb.KeyValue
	for _, kv := range kvs {
		if kv.Lease != 0 {
			entries = append(entries, kv)
		}
	}
	return entries
}

func first(kvs []*mvccpb.KeyValue) *mvccpb.KeyValue {
	if len(kvs) == 0 {
		return nil
	}
	return kvs[0]
}
