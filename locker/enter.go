package locker

import (
	"context"
	"errors"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

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
			if err := c.clear(ctx); err != nil {
				return err
			}
			continue
		case errors.Is(err, rpctypes.ErrLeaseNotFound):
			c.lease.lose(LeaseExpired)
			fallthrough
		case refused(err):
			c.sent = false
			return err
		}
		// The answer is lost, but perhaps the entry is there.
		own, ferr := c.own(ctx)
		switch {
		case ferr != nil || own == nil || !c.wrote(own):
			return err
		case own.Version == 1:
			c.rev, c.mod = own.CreateRevision, own.ModRevision
			return c.look(ctx)
		}
		// It was put over what somebody had written by hand, and is as old as
		// that; or it is marked as evicted.
		c.stale = own
		if err := c.clear(ctx); err != nil {
			return err
		}
	}
}

// errStale says that there is an entry under c's name which is not to be held.
var errStale = errors.New("locker: stale queue entry")

// put joins the queue. Together with others that are likely to do what they are
// sent for, it hopes that the queue is empty: then it need not read who is ahead.
func (c *claim) put(ctx context.Context) error {
	hope := c.rec.Mode == exclusive && !c.l.batch.wary() && !c.l.watched(c.dir)
	a, err := c.l.batch.commit(ctx, txn{key: c.key, form: func(flat bool) txn {
		if flat && hope {
			return c.hoping()
		}
		// A late write of an older claim does nothing then.
		return txn{key: c.key, cmps: []clientv3.Cmp{created(c.name, 0)}, then: c.join(), likely: true}
	}})
	switch {
	case err != nil:
		return err
	case a.hopeful:
		return c.leads(a)
	case !a.succeeded:
		return errStale
	}
	c.joined(a.rev, a.responses)
	return nil
}

// getNearby is to get its key and end: that costs less than a new operation.
var getNearby = clientv3.OpGet("", clientv3.WithLimit(nearby), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend))

// join is what reads who is ahead and puts c behind them: in this order, so
// that etcd does not send c's own record back. It requires that its name is free.
func (c *claim) join() []clientv3.Op {
	ahead := getNearby
	ahead.WithKeyBytes([]byte(c.dir))
	ahead.WithRangeBytes(c.dirEnd())
	return append([]clientv3.Op{ahead, c.entry(c.lease.putNew)}, gets(c.reads)...)
}

// joined notes that c came into the queue at rev, as the answers to join say.
func (c *claim) joined(rev int64, answers []*pb.ResponseOp) {
	ahead := answers[0].GetResponseRange()
	c.rev, c.mod, c.sent = rev, rev, true
	c.read = readOf(rev, c.reads, answers[2:])
	c.place = c.placeOf(rev, ahead.Kvs, ahead.Count > int64(len(ahead.Kvs)))
	if !c.place.complete {
		c.place.n = int(ahead.Count)
	}
}

// hoping joins the queue if nothing is there.
func (c *claim) hoping() txn {
	empty := clientv3.CreateRevision(c.dir) // of all that is there, equal to 0
	empty.GetCompare().RangeEnd = c.dirEnd()
	return txn{
		key:  c.key,
		cmps: []clientv3.Cmp{empty},
		then: append([]clientv3.Op{c.entry(c.lease.putNew)}, gets(c.reads)...), likely: true, hopeful: true,
	}
}

// unclaimed holds while nobody has an entry in the queue. A key without a lease,
// which somebody has left there, is none; it may have c's name.
func (c *claim) unclaimed() clientv3.Cmp {
	cmp := clientv3.LeaseValue(c.dir)
	// What clientv3.Compare does to a copy, made by reflection.
	of := cmp.GetCompare()
	of.RangeEnd = c.dirEnd()
	of.TargetUnion = &pb.Compare_Lease{}
	return cmp
}

// entry puts c's entry.
func (c *claim) entry(put clientv3.Op) clientv3.Op {
	put.WithKeyBytes([]byte(c.name))
	put.WithValueBytes(c.rec.encode())
	return put
}

// leads notes that c came into an empty queue, as the answer to its entry and its
// reads says.
func (c *claim) leads(a answer) error {
	if old := a.responses[0].GetResponsePut().PrevKv; old != nil {
		// Nobody's: it is without a lease. What was put over it is as old as that.
		c.stale = old
		return errStale
	}
	c.rev, c.mod, c.sent = a.rev, a.rev, true
	c.place = place{rev: a.rev, complete: true}
	c.read = readOf(a.rev, c.reads, a.responses[1:])
	return nil
}

func (c *claim) putIfFree(ctx context.Context) error {
	holders := clientv3.WithFirstCreate()
	if c.rec.Mode == shared {
		holders = []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend)}
	}
	a, err := c.l.batch.commit(ctx, txn{
		key:  c.key,
		cmps: []clientv3.Cmp{c.unclaimed()},
		then: append([]clientv3.Op{c.entry(c.lease.put)}, gets(c.reads)...),
		els:  []clientv3.Op{clientv3.OpGet(c.dir, holders...)},
	})
	if err != nil {
		return err
	}
	if a.succeeded {
		return c.leads(a)
	}
	queue := a.responses[0].GetResponseRange()
	if i := slices.IndexFunc(queue.Kvs, func(kv *mvccpb.KeyValue) bool { return string(kv.Key) == c.name }); i >= 0 {
		c.stale = queue.Kvs[i]
		return errStale
	}
	if c.rec.Mode == shared && !slices.ContainsFunc(leased(slices.Clone(queue.Kvs)), alone) {
		return c.put(ctx) // and see
	}
	c.place = place{rev: a.rev, ahead: queue.Kvs[:1], n: int(queue.Count)}
	return nil
}

// clear removes what is under c's name: a write of an older claim that was given up
// and committed late, or c's own over what somebody had written by hand.
func (c *claim) clear(ctx context.Context) (err error) {
	old := c.stale
	c.stale = nil
	if old == nil {
		old, err = c.own(ctx)
	}
	if err != nil || old == nil { // it is gone
		return err
	}
	return c.removeGhost(ctx, old)
}

// removeGhost deletes an entry of this Locker that no claim stands for any more.
func (c *claim) removeGhost(ctx context.Context, ghost *mvccpb.KeyValue) error {
	deleted, err := c.l.deleteRevision(ctx, c.key, string(ghost.Key), ghost.CreateRevision)
	if deleted {
		c.l.log.Info("elock: removed an entry left behind", "key", c.key.String(), "owner", c.l.owner)
	}
	return err
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

// dirEnd is where the names that begin with c.dir, and so with a last slash, end.
func (c *claim) dirEnd() []byte {
	end := []byte(c.dir)
	end[len(end)-1]++
	return end
}
