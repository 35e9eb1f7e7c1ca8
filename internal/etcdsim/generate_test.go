package etcdsim_test

import (
	"fmt"
	"math/bits"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// A generator draws requests on few keys, so that they meet.
type generator struct {
	*rapid.T
	prefix     string
	start, rev int64 // the store's revision, at first and now
	compacted  int64
	leases     []int64 // that may exist
}

var names = []string{"a", "a/b", "a/c", "b", "c", "d"}

// below draws a number from 0 to n-1. rapid's own numbers are mostly small, so that the rarer requests never met.
func (g *generator) below(n int, label string) int {
	return rapid.Custom(func(t *rapid.T) int {
		bits, v := bits.Len(uint(n))+3, 0
		for range bits {
			v <<= 1
			if rapid.Bool().Draw(t, "bit") {
				v |= 1
			}
		}
		return v * n >> bits
	}).Draw(g.T, label)
}

func (g *generator) oneIn(n int, label string) bool { return g.below(n, label) == n-1 }

func pick[T any](g *generator, from []T, label string) T { return from[g.below(len(from), label)] }

func (g *generator) key() []byte {
	if g.oneIn(60, "no key") {
		return nil
	}
	return []byte(g.prefix + pick(g, names, "key"))
}

func (g *generator) end() []byte {
	switch g.below(8, "end") {
	case 0, 1, 2:
		return nil
	case 3:
		return []byte{0}
	case 4:
		return []byte(g.prefix + "\xff")
	case 5:
		return []byte(g.prefix + "a0") // all of a/
	}
	return g.key()
}

func (g *generator) value() []byte {
	return []byte(pick(g, []string{"", "v", "w", "x"}, "value"))
}

func (g *generator) lease() int64 {
	return pick(g, append([]int64{0, 0, 4711}, slices.Repeat(g.leases, 2)...), "lease")
}

// near draws a revision of this store's time, or a little outside.
func (g *generator) near() int64 {
	if g.oneIn(2, "at an edge") {
		edge := pick(g, []int64{g.start, g.compacted, g.rev}, "edge")
		return edge + int64(g.below(3, "offset")) - 1
	}
	from := max(g.compacted, g.start) - 2
	return from + int64(g.below(int(g.rev-from)+3, "revision"))
}

func (g *generator) put() *pb.PutRequest {
	r := &pb.PutRequest{Key: g.key(), Value: g.value(), Lease: g.lease(), PrevKv: g.oneIn(3, "prev")}
	if g.oneIn(6, "ignore value") {
		r.IgnoreValue = true
		if !g.oneIn(4, "keep value") {
			r.Value = nil
		}
	}
	if g.oneIn(6, "ignore lease") {
		r.IgnoreLease = true
		if !g.oneIn(4, "keep lease") {
			r.Lease = 0
		}
	}
	return r
}

func (g *generator) get() *pb.RangeRequest {
	r := &pb.RangeRequest{
		Key:          g.key(),
		RangeEnd:     g.end(),
		Serializable: g.oneIn(4, "serializable"),
		KeysOnly:     g.oneIn(4, "keys only"),
		CountOnly:    g.oneIn(8, "count only"),
	}
	if g.oneIn(2, "sort") {
		r.SortOrder = pb.RangeRequest_SortOrder(g.below(3, "order"))
		r.SortTarget = pb.RangeRequest_SortTarget(g.below(5, "target"))
	}
	if g.oneIn(40, "bad sort") {
		r.SortTarget = 9
	}
	if g.oneIn(2, "limit") {
		r.Limit = int64(g.below(6, "limit")) - 1
	}
	if g.oneIn(4, "past") {
		r.Revision = g.near()
	}
	for _, bound := range []*int64{&r.MinModRevision, &r.MaxModRevision, &r.MinCreateRevision, &r.MaxCreateRevision} {
		if g.oneIn(12, "bound") {
			*bound = g.near()
		}
	}
	return r
}

func (g *generator) del() *pb.DeleteRangeRequest {
	return &pb.DeleteRangeRequest{Key: g.key(), RangeEnd: g.end(), PrevKv: g.oneIn(2, "prev")}
}

func (g *generator) compare() *pb.Compare {
	c := &pb.Compare{
		Key:    g.key(),
		Result: pb.Compare_CompareResult(g.below(4, "result")),
		Target: pb.Compare_CompareTarget(g.below(5, "target")),
	}
	if g.oneIn(3, "range") {
		c.RangeEnd = g.end()
	}
	if g.oneIn(20, "nothing") {
		return c
	}
	switch c.Target {
	case pb.Compare_VALUE:
		c.TargetUnion = &pb.Compare_Value{Value: g.value()}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: g.revisionOrZero()}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: g.revisionOrZero()}
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: int64(g.below(4, "version"))}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: g.lease()}
	}
	return c
}

func (g *generator) revisionOrZero() int64 {
	if g.oneIn(3, "zero") {
		return 0
	}
	return g.near()
}

func (g *generator) txn() *pb.TxnRequest {
	r := g.nested(2)
	if deletesToTheEnd(r) {
		keepOwnValues(r)
	}
	if g.oneIn(30, "large") {
		for i := range maxOps - 2 + g.below(4, "size") {
			r.Success = append(r.Success, opOf(&pb.PutRequest{Key: fmt.Appendf(nil, "%sz%d", g.prefix, i)}))
		}
	}
	return r
}

const maxOps = 128

func (g *generator) nested(depth int) *pb.TxnRequest {
	r := &pb.TxnRequest{}
	for range g.below(3, "compares") {
		r.Compare = append(r.Compare, g.compare())
	}
	r.Success, r.Failure = g.branch(depth), g.branch(depth)
	return r
}

func (g *generator) branch(depth int) (ops []*pb.RequestOp) {
	for range g.below(4, "ops") {
		switch g.below(8, "op") {
		case 0, 1, 2:
			ops = append(ops, opOf(g.put()))
		case 3:
			ops = append(ops, opOf(g.del()))
		case 4, 5:
			if depth > 0 {
				ops = append(ops, opOf(g.nested(depth-1)))
			}
		case 6:
			ops = append(ops, opOf(g.get()))
		case 7:
			if g.oneIn(10, "no op") {
				ops = append(ops, &pb.RequestOp{})
			}
		}
	}
	return ops
}

func opOf(r proto.Message) *pb.RequestOp {
	switch r := r.(type) {
	case *pb.PutRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
	case *pb.DeleteRangeRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
	case *pb.RangeRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
	case *pb.TxnRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: r}}
	}
	panic(r)
}

// deletesToTheEnd reports whether r deletes all keys from one on. etcd misses that such a deletion meets a put of the same
// transaction, and if that put ignores the value or the lease, the server panics.
func deletesToTheEnd(r *pb.TxnRequest) bool {
	for _, op := range append(append([]*pb.RequestOp(nil), r.Success...), r.Failure...) {
		if d := op.GetRequestDeleteRange(); d != nil && string(d.RangeEnd) == "\x00" {
			return true
		}
		if t := op.GetRequestTxn(); t != nil && deletesToTheEnd(t) {
			return true
		}
	}
	return false
}

func keepOwnValues(r *pb.TxnRequest) {
	for _, op := range append(append([]*pb.RequestOp(nil), r.Success...), r.Failure...) {
		if p := op.GetRequestPut(); p != nil {
			p.IgnoreValue, p.IgnoreLease = false, false
		}
		if t := op.GetRequestTxn(); t != nil {
			keepOwnValues(t)
		}
	}
}

func (g *generator) watch() *pb.WatchCreateRequest {
	r := &pb.WatchCreateRequest{
		Key:      g.key(),
		RangeEnd: g.end(),
		PrevKv:   g.oneIn(2, "prev"),
		Fragment: g.oneIn(4, "fragment"),
	}
	for _, f := range []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT, pb.WatchCreateRequest_NODELETE} {
		if g.oneIn(5, "filter") {
			r.Filters = append(r.Filters, f)
		}
	}
	if len(r.Key) == 0 {
		r.Key = []byte(g.prefix) // no key is the first of all, and the real etcd has seen others
	}
	if g.oneIn(4, "from") {
		r.StartRevision = g.near()
		if g.oneIn(20, "negative") {
			r.StartRevision = -1
		}
	}
	return r
}
