package locker

import (
	"bytes"
	"context"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/internal/xctx"
)

// maxReading is how many keys an acquire may read: with what it does besides,
// it must fit into a transaction of etcd.
const maxReading = 32

// ReadKeys makes an acquire also read keys of etcd, such as a value that the
// lock guards: in its own round trip if it does not have to wait, and else once
// the lock is held. Hold.Read returns them. An acquire takes 32 keys at most.
func ReadKeys(names ...string) AcquireOption {
	return func(r *request) {
		r.read(names)
		r.fresh = true
	}
}

// ReadKnown is ReadKeys of the value that a lock guards, keyspace.Key.ValuePath, and
// sends nothing where the Locker knows it: it retains the lock, as WithRetain says, and
// the last Commit under it has put this one value, of 16 KiB at most. Hold.Read then
// returns what was put, with its mod revision; the create revision and the version are 0,
// which no key in etcd has. What somebody has written since without the lock is not
// seen: only a Commit that compares the mod revision tells.
func ReadKnown(names ...string) AcquireOption {
	return func(r *request) { r.read(names) }
}

func (r *request) read(names []string) {
	r.reads = append(slices.Clip(r.reads), names...)
	switch {
	case slices.Contains(names, ""):
		r.err = invalid("reading a key without a name")
	case len(r.reads) > maxReading:
		r.err = invalid("reading %d keys; want at most %d", len(r.reads), maxReading)
	}
}

// Read returns what ReadKeys asked for: an element for each key, in that order,
// and nil where there was none. It is what the keys were at a moment at which
// the lock was held already; ReadKnown says what it does else. In the function of a guard of a stored value, that
// value comes last.
func (h *Hold) Read() []*mvccpb.KeyValue {
	if h.read == nil {
		return nil
	}
	return h.read.KVs
}

// reading returns what keys were when e's lock was held: what came with the grant,
// what is known, or else what they are now.
func (e *entry) reading(ctx context.Context, want request) (*record.Read, error) {
	if r := e.takeRead(); r != nil && slices.Equal(r.Names, want.reads) {
		return r, nil
	}
	if e.known != nil && !want.fresh && slices.Equal(want.reads, []string{string(e.known.Key)}) {
		kv := &mvccpb.KeyValue{Key: bytes.Clone(e.known.Key), Value: bytes.Clone(e.known.Value), ModRevision: e.known.ModRevision}
		return &record.Read{Rev: kv.ModRevision, Names: want.reads, KVs: []*mvccpb.KeyValue{kv}}, nil
	}
	return e.fetch(ctx, want.reads)
}

// maxKnown is how large a value is that an entry remembers.
const maxKnown = 16 << 10

// remember notes what a transaction at rev, which left e in etcd, has put, if that is one
// value and all that it did. An empty one may be that of a put that leaves the value alone.
func (e *entry) remember(rev int64, ops []clientv3.Op) {
	e.known = nil
	if len(ops) == 1 && ops[0].IsPut() && len(ops[0].ValueBytes()) > 0 && len(ops[0].ValueBytes()) <= maxKnown {
		e.known = &mvccpb.KeyValue{Key: ops[0].KeyBytes(), Value: ops[0].ValueBytes(), ModRevision: rev}
	}
}

// takeRead returns what came with the grant, for its first holder only.
func (e *entry) takeRead() *record.Read {
	r := e.Read
	e.Read = nil
	return r
}

// fetch reads keys while e's lock is held.
func (e *entry) fetch(ctx context.Context, names []string) (*record.Read, error) {
	if len(names) == 0 {
		return nil, nil
	}
	ctx, cancel := xctx.Merge(ctx, e.Lease.Waits())
	defer cancel()
	var resp *clientv3.TxnResponse
	err := e.l.etcd.Persist(ctx, func(ctx context.Context) (err error) {
		resp, err = e.l.etcd.Read(ctx, record.Gets(names)...)
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
