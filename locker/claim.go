package locker

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
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
	heir  *claim // perhaps in etcd instead of c

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
	write := &late{caller: ctx, other: c.lease.waits, grace: grace / 2}
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

// enter joins the queue and finds the place in it. A try joins only an empty
// queue; otherwise the place has its first entry.
func (c *claim) enter(ctx context.Context, try bool) (err error) {
	c.sent = true
	for {
		if try {
			err = c.putIfFree(ctx)
		} else {
			err = c.put(ctx)
		}
		switch {
		case err == nil:
			c.sent = c.rev != 0
			return nil
		case errors.Is(err, errStale):
			continue
		case errors.Is(err, rpctypes.ErrLeaseNotFound):
			c.lease.lose(LeaseExpired)
			fallthrough
		case refused(err):
			c.sent = false
			return err
		}
		// The answer is lost, but perhaps the entry is there.
		if found, ferr := c.find(ctx); ferr != nil || !found {
			return err
		}
		return c.look(ctx)
	}
}

// errStale says that the name was taken by an older claim, now removed.
var errStale = errors.New("locker: stale queue entry")

// join is what reads who is ahead and puts c behind them: in this order, so
// that etcd does not send c's own record back. It requires that its name is free.
func (c *claim) join() []clientv3.Op {
	ahead := getNearby
	ahead.WithKeyBytes([]byte(c.dir))
	ahead.WithRangeBytes(c.dirEnd())
	return append([]clientv3.Op{ahead, c.entry()}, gets(c.reads)...)
}

// entry puts c's entry.
func (c *claim) entry(opts ...clientv3.OpOption) clientv3.Op {
	return clientv3.OpPut(c.name, c.rec.encode(), append(opts, clientv3.WithLease(c.lease.id))...)
}

// unclaimed holds while nobody has an entry in the queue.
func (c *claim) unclaimed() clientv3.Cmp {
	cmp := clientv3.LeaseValue(c.dir)
	// What clientv3.Compare does to a copy, made by reflection.
	of := cmp.GetCompare()
	of.RangeEnd = c.dirEnd()
	of.TargetUnion = &pb.Compare_Lease{}
	return cmp
}

// dirEnd is where the names that begin with c.dir, and so with a last slash, end.
func (c *claim) dirEnd() []byte {
	end := []byte(c.dir)
	end[len(end)-1]++
	return end
}

// leads notes that c came into an empty queue, as the answer to its entry and its
// reads says.
func (c *claim) leads(ctx context.Context, a answer) error {
	if old := a.responses[0].GetResponsePut().PrevKv; old != nil {
		// No entry: one that somebody wrote over, without its lease. What was
		// put now is as old as that.
		return c.clear(ctx, old)
	}
	c.rev, c.sent = a.rev, true
	c.place = place{rev: a.rev, complete: true}
	c.read = readOf(a.rev, c.reads, a.responses[1:])
	return nil
}

// Operations whose keys are to be set: that costs less than new ones.
var (
	getNearby = clientv3.OpGet("", clientv3.WithLimit(nearby), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend))
	deleteKey = clientv3.OpDelete("")
)

// joined notes that c came into the queue at rev, as the answers to join say.
func (c *claim) joined(rev int64, answers []*pb.ResponseOp) {
	ahead := answers[0].GetResponseRange()
	c.rev, c.sent = rev, true
	c.read = readOf(rev, c.reads, answers[2:])
	c.place = c.placeOf(rev, ahead.Kvs, ahead.Count > int64(len(ahead.Kvs)))
	if !c.place.complete {
		c.place.n = int(ahead.Count)
	}
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

// joining joins the queue, or reads what has c's name.
func (c *claim) joining() txn {
	return txn{
		key:  c.key,
		cmps: []clientv3.Cmp{created(c.name, 0)},
		then: c.join(),
		els:  []clientv3.Op{clientv3.OpGet(c.name)}, likely: true,
	}
}

// hoping joins the queue if that is empty.
func (c *claim) hoping() txn {
	return txn{
		key:  c.key,
		cmps: []clientv3.Cmp{c.unclaimed()},
		then: append([]clientv3.Op{c.entry(clientv3.WithPrevKV())}, gets(c.reads)...), likely: true, hopeful: true,
	}
}

// put joins the queue. Together with others that are likely to do what they are
// sent for, it hopes that the queue is empty: then it need not read who is ahead.
func (c *claim) put(ctx context.Context) error {
	hope := !c.l.batch.wary() && !c.l.watched(c.dir)
	a, err := c.l.batch.commit(ctx, txn{key: c.key, form: func(flat bool) txn {
		if flat && hope {
			return c.hoping()
		}
		return c.joining()
	}})
	switch {
	case err != nil:
		return err
	case a.hopeful:
		return c.leads(ctx, a)
	case a.succeeded:
		c.joined(a.rev, a.responses)
		return nil
	case len(a.kvs(0)) == 0:
		return errStale
	}
	return c.clear(ctx, a.kvs(0)[0])
}

func (c *claim) putIfFree(ctx context.Context) error {
	holders := clientv3.WithFirstCreate()
	if c.rec.Mode == shared {
		holders = []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend)}
	}
	a, err := c.l.batch.commit(ctx, txn{
		key:  c.key,
		cmps: []clientv3.Cmp{c.unclaimed()},
		then: append([]clientv3.Op{c.entry(clientv3.WithPrevKV())}, gets(c.reads)...),
		els:  []clientv3.Op{clientv3.OpGet(c.dir, holders...)},
	})
	if err != nil {
		return err
	}
	if a.succeeded {
		return c.leads(ctx, a)
	}
	queue := a.responses[0].GetResponseRange()
	if i := slices.IndexFunc(queue.Kvs, func(kv *mvccpb.KeyValue) bool { return string(kv.Key) == c.name }); i >= 0 {
		return c.clear(ctx, queue.Kvs[i])
	}
	if c.rec.Mode == shared && !slices.ContainsFunc(leased(slices.Clone(queue.Kvs)), alone) {
		return c.put(ctx) // and see
	}
	c.place = place{rev: a.rev, ahead: queue.Kvs[:1], n: int(queue.Count)}
	return nil
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
	deleted, err := c.l.deleteRevision(ctx, c.key, string(ghost.Key), ghost.CreateRevision)
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

// own returns what is in etcd under c's name, nil if nothing is.
func (c *claim) own(ctx context.Context) (*mvccpb.KeyValue, error) {
	a, err := c.l.batch.commit(ctx, txn{key: c.key, then: []clientv3.Op{clientv3.OpGet(c.name)}})
	if err != nil || len(a.kvs(0)) == 0 {
		return nil, err
	}
	return a.kvs(0)[0], nil
}

// find reports whether c's own write was committed.
func (c *claim) find(ctx context.Context) (bool, error) {
	own, err := c.own(ctx)
	if err != nil || own == nil {
		return false, err
	}
	if !c.wrote(own) {
		return false, nil
	}
	c.rev = own.CreateRevision
	return true, nil
}

// wrote reports whether kv, which has c's name, was put for c and no other claim.
func (c *claim) wrote(kv *mvccpb.KeyValue) bool {
	r, ok := parseRecord(kv.Value)
	return ok && r.Nonce == c.rec.Nonce
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
		heir.rev, heir.sent = a.kvs(0)[0].CreateRevision, true
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

// usable reports whether c, which came with the lane, is a good claim for what
// is wanted.
func (c *claim) usable(want request) bool {
	return c.lease.seconds == want.seconds && c.rec.Mode == want.mode() && c.lease.waits.Err() == nil && c.lease.remaining() > 0 && c.kept.usable()
}

// remove deletes c's entry and no other, and reports whether it was there.
func (c *claim) remove(ctx context.Context) (bool, error) {
	if c.rev == 0 {
		if found, err := c.find(ctx); err != nil || !found {
			return false, err
		}
	}
	return c.l.deleteRevision(ctx, c.key, c.name, c.rev)
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

// deleteRevision deletes the key with that create revision and no other, and
// reports whether it was there.
func (l *Locker) deleteRevision(ctx context.Context, key keyspace.Key, name string, rev int64) (bool, error) {
	a, err := l.batch.commit(ctx, removal(key, name, rev))
	return a.succeeded, err
}

// removal deletes the key with that create revision and no other.
func removal(key keyspace.Key, name string, rev int64) txn {
	del := deleteKey
	del.WithKeyBytes([]byte(name))
	return txn{key: key, cmps: []clientv3.Cmp{created(name, rev)}, then: []clientv3.Op{del}, likely: true}
}

// created compares the create revision of a key, which is 0 where there is none.
func created(name string, rev int64) clientv3.Cmp {
	cmp := clientv3.CreateRevision(name)
	// What clientv3.Compare does to a copy, made by reflection.
	cmp.GetCompare().TargetUnion = &pb.Compare_CreateRevision{CreateRevision: rev}
	return cmp
}

// leased drops the keys that are not entries of a queue.
func leased(kvs []*mvccpb.KeyValue) []*mvccpb.KeyValue {
	return slices.DeleteFunc(kvs, func(kv *mvccpb.KeyValue) bool { return kv.Lease == 0 })
}
