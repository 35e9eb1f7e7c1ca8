package locker

import (
	"context"
	"errors"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// requeue deletes c's entry and, in the same transaction, puts one at the end
// of the queue for the next goroutine in line, which gets it with the lane.
// ended is called before that. It reports false if there is no such goroutine,
// or c's entry is not what it was: then nothing has changed.
func (c *claim) requeue(ctx context.Context, ended func()) (bool, error) {
	next := c.l.lanes.next(c)
	if next == nil || c.lease.waits.Err() != nil {
		return false, nil
	}
	heir := c.heirFor(next)
	a, err := c.l.batch.commit(ctx, txn{
		key:  c.key,
		cmps: []clientv3.Cmp{created(c.name, c.rev), created(heir.name, 0)},
		then: append([]clientv3.Op{clientv3.OpDelete(c.name)}, heir.join()...), likely: true,
		els: []clientv3.Op{clientv3.OpGet(heir.name)},
	})
	switch {
	case err != nil && !refused(err):
		c.heir = heir
		return false, err
	case a.succeeded:
		heir.joined(a.rev, a.responses[1:])
	case err == nil && len(a.kvs(0)) > 0 && heir.wrote(a.kvs(0)[0]):
		// Some layer below has sent the transaction twice.
		heir.rev, heir.mod, heir.sent = a.kvs(0)[0].CreateRevision, a.kvs(0)[0].ModRevision, true
	default:
		return false, nil
	}
	c.replaced(heir, next, ended)
	return true, nil
}

// heirFor returns a claim for next that can take c's place in one transaction.
func (c *claim) heirFor(next *turn) *claim {
	heir := c.l.newClaim(c.key, c.lease, next.who, next.want)
	if heir.name == c.name {
		heir.name += "-1" // a transaction may not delete a key and put it
	}
	return heir
}

// replaced passes the lane to next with heir, which has joined the queue.
func (c *claim) replaced(heir *claim, next *turn, ended func()) {
	c.kept.stop()
	ended()
	if !c.l.lanes.hand(heir, next) {
		heir.settle(errUnwanted, func() {})
	}
}

// errUnwanted says that a waiter gave up.
var errUnwanted = errors.New("locker: nobody waits any more")
