package locker

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/keyspace"
)

// A claim is an entry in the queue of a lock in etcd: a key in the lock's
// directory, attached to a lease. The order of create revisions is the queue,
// and the first in it holds the lock. Keys without a lease are not entries:
// nobody who waits or holds ever leaves one.
//
// A claim belongs to the goroutine that occupies the key's lane. It may pass
// with the lane, so that several goroutines hold the lock under it, one after
// another.
type claim struct {
	l     *Locker
	key   keyspace.Key
	lease *lease
	dir   string // the lock's directory
	name  string // the entry's key
	rec   record // its value
	rev   int64  // its create revision; 0 until known
	sent  bool   // it may be in etcd
	place place
	heir  *claim           // perhaps in etcd instead of c
	mod   int64            // the revision at which its record was last put; guarded by kept.pen if there is one
	stale *mvccpb.KeyValue // what is to be removed before it joins the queue

	waited bool // for others, in etcd

	reads   []string  // what joining the queue also reads
	read    *read     // what it read, if that was with the grant or later
	granted time.Time // when it was first in the queue; zero before
	grants  Token     // how many held the lock under it before
	kept    *keeping  // what keeps it while nobody here holds it; nil if nothing ever did
	sharing *sharing  // who else holds under it; nil if nobody does
}

// A place is a claim's place in the queue as of a revision of etcd.
type place struct {
	rev      int64
	ahead    []*mvccpb.KeyValue // the entries ahead, the nearest first
	complete bool               // there are no others
	n        int                // how many are ahead; 0 if that is not known
}

// nearby is how many entries ahead a claim asks for.
const nearby = 8

// errDisplaced says that the entry was deleted by somebody else.
var errDisplaced = errors.New("locker: queue entry was deleted")

// newClaim returns a claim that is not in etcd yet.
func (l *Locker) newClaim(key keyspace.Key, s *lease, who Owner, want request) *claim {
	c := &claim{l: l, key: key, lease: s, reads: want.reads, rec: record{
		Version:     recordVersion,
		Owner:       who.Name,
		Mode:        want.mode(),
		Since:       who.Since,
		Nonce:       l.nonce.Add(1),
		Annotations: who.Annotations,
	}}
	dir := key.Path(l.prefix)
	var id [16]byte
	c.name = dir + string(strconv.AppendInt(id[:0], int64(s.id), 16))
	c.dir = c.name[:len(dir)]
	return c
}

// token is that of the hold under c.
func (c *claim) token() Token { return tokenOf(c.rev) + c.grants }

// obtain gets the lock: when it returns nil, c is the first in the queue. ctx
// bounds the wait. On failure c.sent tells whether anything may be in etcd.
func (c *claim) obtain(ctx context.Context, try bool, blocked func(BlockedData)) error {
	if c.first() {
		return c.check(ctx)
	}
	// A write that is cancelled on its way may commit after it was looked for:
	// so wait a little for its answer. The clean-up gets the other half.
	write := &late{caller: ctx, limit: c.lease.writes, grace: grace / 2}
	defer write.stop()
	var err error
	if c.rev == 0 {
		err = c.enter(write, try)
	}
	if err == nil && c.first() {
		return c.check(ctx)
	}
	ctx, cancel := either(ctx, c.lease.waits)
	defer cancel()
	for err == nil && !c.first() {
		c.read = nil
		ahead := c.place.nearest()
		if ahead == nil {
			err = c.look(ctx)
			continue
		}
		if c.l.gaveUp(ahead) {
			err = c.overtake(write, ahead, try)
			continue
		}
		if try && perhapsKept(ahead) && c.place.n == 1 {
			err = c.ask(ctx, write)
			continue
		}
		blocked(BlockedData{Key: c.key, By: ownerOf(ahead), Ahead: c.place.n})
		if try {
			return ErrLocked
		}
		c.waited = true
		err = c.await(ctx)
	}
	if err != nil {
		return err
	}
	return c.check(ctx)
}

// check returns why c, which is the first in the queue, cannot be held, if so.
func (c *claim) check(ctx context.Context) error {
	if c.lease.remaining() <= 0 {
		c.lease.lose(Deadline)
	}
	// An end that comes together with the grant comes before it.
	if c.lease.waits.Err() != nil {
		return context.Cause(c.lease.waits)
	}
	if c.granted.IsZero() {
		c.granted = time.Now()
	}
	return context.Cause(ctx)
}

// first reports whether c was the first in the queue at the revision of its
// place.
func (c *claim) first() bool {
	return c.rev != 0 && c.place.complete && len(c.place.ahead) == 0
}

func (p place) nearest() *mvccpb.KeyValue {
	if len(p.ahead) == 0 {
		return nil
	}
	return p.ahead[0]
}

// overtake removes an entry ahead that this Locker believes in no more, though
// etcd still does, and finds the place anew.
func (c *claim) overtake(ctx context.Context, ghost *mvccpb.KeyValue, try bool) error {
	if err := c.removeGhost(ctx, ghost); err != nil {
		return err
	}
	if c.rev == 0 {
		return c.enter(ctx, try)
	}
	return c.look(ctx)
}

// placeOf makes a place of what is ahead, of which there may be more. For who
// shares the lock, others who do are not.
func (c *claim) placeOf(rev int64, ahead []*mvccpb.KeyValue, more bool) place {
	p := place{rev: rev, ahead: leased(ahead), complete: !more}
	if c.rec.Mode == shared {
		p.ahead = slices.DeleteFunc(p.ahead, func(kv *mvccpb.KeyValue) bool { return !alone(kv) })
	}
	if p.complete {
		p.n = len(p.ahead)
	}
	return p
}

// is reports whether kv is c's entry. Written over by hand, without the lease,
// it is nobody's.
func (c *claim) is(kv *mvccpb.KeyValue) bool {
	return kv.CreateRevision == c.rev && kv.Lease == int64(c.lease.id)
}

// look finds the place of c.
func (c *claim) look(ctx context.Context) error {
	before := []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithMaxCreateRev(c.rev - 1),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend)}
	resp, err := c.l.kv.Txn(ctx).Then(
		clientv3.OpGet(c.name), // whole: a key alone comes without its lease
		clientv3.OpGet(c.dir, append(before, clientv3.WithLimit(1+nearby))...),
	).Commit()
	if err != nil {
		return err
	}
	own := resp.Responses[0].GetResponseRange().Kvs
	if len(own) == 0 || !c.is(own[0]) {
		return errDisplaced
	}
	ahead := resp.Responses[1].GetResponseRange().Kvs
	c.place = c.placeOf(resp.Header.Revision, ahead, len(ahead) > nearby)
	if c.place.complete || len(c.place.ahead) > 0 {
		return nil
	}
	all, err := c.l.kv.Get(ctx, c.dir, before...)
	if err != nil {
		return err
	}
	c.place = c.placeOf(c.place.rev, all.Kvs, false)
	return nil
}

// usable reports whether c, which came with the lane, is a good claim for what
// is wanted.
func (c *claim) usable(want request) bool {
	return c.lease.seconds == want.seconds && c.rec.Mode == want.mode() && c.lease.waits.Err() == nil && c.lease.remaining() > 0 && c.kept.usable()
}

// done gives up the lane and the lease, unless others still hold with c. c is not
// in etcd any more, or ends there with its lease.
func (c *claim) done() {
	if !c.sole() {
		return
	}
	c.drop()
	c.l.lanes.leave(c.key)
}

// drop gives up the lease.
func (c *claim) drop() {
	c.kept.stop()
	c.lease.part()
}
