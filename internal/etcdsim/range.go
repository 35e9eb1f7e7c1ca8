package etcdsim

import (
	"bytes"
	"slices"
	"sort"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// read answers r, where cur is the newest revision that the reader sees.
func (s *store) read(r *pb.RangeRequest, cur int64) (*pb.RangeResponse, error) {
	rev := r.Revision
	switch {
	case rev > cur:
		return nil, rpctypes.ErrGRPCFutureRev
	case rev <= 0:
		rev = cur
	case rev < s.compacted:
		return nil, rpctypes.ErrGRPCCompacted
	}
	resp := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: cur}}
	var found []*mvccpb.KeyValue
	for _, name := range s.in(spanOf(r.Key, r.RangeEnd)) {
		if kv := s.at(name, rev); kv != nil {
			found = append(found, kv)
		}
	}
	resp.Count = int64(len(found)) // of all, whatever the bounds and the limit are
	if r.CountOnly {
		return resp, nil
	}
	if limitsFirst(r) && int64(len(found)) > r.Limit {
		found = found[:r.Limit+1]
	}
	found = slices.DeleteFunc(found, func(kv *mvccpb.KeyValue) bool { return outOfBounds(kv, r) })
	order(found, r)
	if r.Limit > 0 && int64(len(found)) > r.Limit {
		found = found[:r.Limit]
		resp.More = true
	}
	if r.KeysOnly {
		for i, kv := range found {
			found[i] = bare(kv, r.SortTarget)
		}
	}
	resp.Kvs = found
	return resp, nil
}

// limitsFirst reports whether etcd takes the first keys, up to one more than the limit, before it sorts them. It does even
// where it sorts by something else than the key, if no direction is asked for.
func limitsFirst(r *pb.RangeRequest) bool {
	byKey := r.SortOrder == pb.RangeRequest_NONE || r.SortTarget == pb.RangeRequest_KEY && r.SortOrder == pb.RangeRequest_ASCEND
	bounds := r.MinModRevision | r.MaxModRevision | r.MinCreateRevision | r.MaxCreateRevision
	return r.Limit > 0 && byKey && bounds == 0
}

func outOfBounds(kv *mvccpb.KeyValue, r *pb.RangeRequest) bool {
	return r.MaxModRevision != 0 && kv.ModRevision > r.MaxModRevision ||
		r.MinModRevision != 0 && kv.ModRevision < r.MinModRevision ||
		r.MaxCreateRevision != 0 && kv.CreateRevision > r.MaxCreateRevision ||
		r.MinCreateRevision != 0 && kv.CreateRevision < r.MinCreateRevision
}

// bare is kv without its value. etcd 3.7 answers keys-only reads from its index, which does not know leases either,
// unless it had to read the values to sort by them.
func bare(kv *mvccpb.KeyValue, target pb.RangeRequest_SortTarget) *mvccpb.KeyValue {
	b := &mvccpb.KeyValue{
		Key:            kv.Key,
		CreateRevision: kv.CreateRevision,
		ModRevision:    kv.ModRevision,
		Version:        kv.Version,
	}
	if target == pb.RangeRequest_VALUE {
		b.Lease = kv.Lease
	}
	return b
}

// order sorts kvs, which are in order of their keys, with the same unstable algorithm as etcd, so that ties fall alike.
func order(kvs []*mvccpb.KeyValue, r *pb.RangeRequest) {
	dir := r.SortOrder
	if r.SortTarget != pb.RangeRequest_KEY && dir == pb.RangeRequest_NONE {
		dir = pb.RangeRequest_ASCEND
	}
	if dir == pb.RangeRequest_NONE || r.SortTarget == pb.RangeRequest_KEY && dir == pb.RangeRequest_ASCEND {
		return
	}
	by := byKey
	switch r.SortTarget {
	case pb.RangeRequest_VERSION:
		by = byVersion
	case pb.RangeRequest_CREATE:
		by = byCreate
	case pb.RangeRequest_MOD:
		by = byMod
	case pb.RangeRequest_VALUE:
		by = byValue
	}
	var s sort.Interface = &sorter{kvs, by}
	if dir == pb.RangeRequest_DESCEND {
		s = sort.Reverse(s)
	}
	sort.Sort(s)
}

type sorter struct {
	kvs  []*mvccpb.KeyValue
	less func(a, b *mvccpb.KeyValue) bool
}

func (s *sorter) Len() int           { return len(s.kvs) }
func (s *sorter) Swap(i, j int)      { s.kvs[i], s.kvs[j] = s.kvs[j], s.kvs[i] }
func (s *sorter) Less(i, j int) bool { return s.less(s.kvs[i], s.kvs[j]) }

func byKey(a, b *mvccpb.KeyValue) bool     { return bytes.Compare(a.Key, b.Key) < 0 }
func byVersion(a, b *mvccpb.KeyValue) bool { return a.Version < b.Version }
func byCreate(a, b *mvccpb.KeyValue) bool  { return a.CreateRevision < b.CreateRevision }
func byMod(a, b *mvccpb.KeyValue) bool     { return a.ModRevision < b.ModRevision }
func byValue(a, b *mvccpb.KeyValue) bool   { return bytes.Compare(a.Value, b.Value) < 0 }
