package locker

import (
	"context"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// maxReading is how many keys an acquire may read: with what it does besides,
// it must fit into a transaction of etcd.
const maxReading = 32

// Reading makes an acquire also read keys of etcd, such as a value that the
// lock guards: in its own round trip if it does not have to wait, and else once
// the lock is held. Hold.Read returns them. An acquire takes 32 keys at most.
func Reading(names ...string) AcquireOption {
	return func(r *request) {
		r.reads = append(slices.Clip(r.reads), names...)
		switch {
		case slices.Contains(names, ""):
			r.err = invalid("reading a key without a name")
		case len(r.reads) > maxReading:
			r.err = invalid("reading %d keys; want at most %d", len(r.reads), maxReading)
		}
	}
}

// Read returns what Reading asked for: an element for each key, in that order,
// and nil where there was none. It is what the keys were at a moment at which
// the lock was held already. In the function of a guard of a stored value, that
// value comes last.
func (h *Hold) Read() []*mvccpb.KeyValue {
	if h.read == nil {
		return nil
	}
	return h.read.kvs
}

// A read is what some keys were.
type read struct {
	rev   int64 // of etcd, when it was so
	names []string
	kvs   []*mvccpb.KeyValue // nil where there is no such key
}

func gets(names []string) []clientv3.Op {
	ops := make([]clientv3.Op, len(names))
	for i, name := range names {
		ops[i] = clientv3.OpGet(name)
	}
	return ops
}

// readOf returns what the answers to gets said at rev.
func readOf(rev int64, names []string, answers []*pb.ResponseOp) *read {
	if len(names) == 0 {
		return nil
	}
	r := &read{rev: rev, names: names, kvs: make([]*mvccpb.KeyValue, len(names))}
	for i := range names {
		if kvs := answers[i].GetResponseRange().Kvs; len(kvs) > 0 {
			r.kvs[i] = kvs[0]
		}
	}
	return r
}

// fetch reads keys for c, whose lock is held, unless they came with the grant.
func (c *claim) fetch(ctx context.Context, names []string) error {
	switch {
	case len(names) == 0:
		c.read = nil
		return nil
	case c.read != nil && slices.Equal(c.read.names, names):
		return nil
	}
	ctx, cancel := either(ctx, c.lease.waits)
	defer cancel()
	resp, err := c.l.kv.Txn(ctx).Then(gets(names)...).Commit()
	if err != nil {
		return err
	}
	c.read = readOf(resp.Header.Revision, names, resp.Responses)
	return c.check(ctx)
}
