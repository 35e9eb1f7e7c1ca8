package entry

import (
	"context"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/internal/xctx"
)

// reading returns what keys were when e's lock was held: what came with the grant,
// what is known, or else what they are now.
func (e *Entry) reading(ctx context.Context, want *Want) (*record.Read, error) {
	if r := e.TakeRead(); r != nil && slices.Equal(r.Names, want.Reads) {
		return r, nil
	}
	if e.known != nil && !want.Fresh && slices.Equal(want.Reads, []string{string(e.known.Key)}) {
		return record.ReadKnown(want.Reads, e.known), nil
	}
	return e.fetch(ctx, want.Reads)
}

// maxKnown is how large a value is that an entry remembers.
const maxKnown = 16 << 10

// remember notes what a transaction at rev, which left e in etcd, has put, if that is one
// value and all that it did. An empty one may be that of a put that leaves the value alone.
func (e *Entry) remember(rev int64, ops []clientv3.Op) {
	e.known = nil
	if len(ops) == 1 && ops[0].IsPut() && len(ops[0].ValueBytes()) > 0 && len(ops[0].ValueBytes()) <= maxKnown {
		e.known = &mvccpb.KeyValue{Key: ops[0].KeyBytes(), Value: ops[0].ValueBytes(), ModRevision: rev}
	}
}

// TakeRead returns what came with the grant, for its first holder only.
func (e *Entry) TakeRead() *record.Read {
	r := e.Read
	e.Read = nil
	return r
}

// fetch reads keys while e's lock is held.
func (e *Entry) fetch(ctx context.Context, names []string) (*record.Read, error) {
	if len(names) == 0 {
		return nil, nil
	}
	ctx, cancel := xctx.Merge(ctx, e.Lease.Waits())
	defer cancel()
	etcd := e.set.cfg.Etcd
	var resp *clientv3.TxnResponse
	err := etcd.Persist(ctx, func(ctx context.Context) (err error) {
		resp, err = etcd.Read(ctx, record.Gets(names)...)
		return err
	})
	if err == nil {
		err = e.check(ctx)
	}
	if err != nil {
		return nil, err
	}
	return record.ReadOf(resp.Header.Revision, names, resp.Responses), nil
}
