package etcdsim

import (
	"bytes"
	"cmp"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

func (s *store) holds(cmps []*pb.Compare) bool {
	for _, c := range cmps {
		if !s.compare(c) {
			return false
		}
	}
	return true
}

// compare reports whether c is true of every key in its range. Where there is none, revisions, version and lease count as
// zero, and a comparison of values is false.
func (s *store) compare(c *pb.Compare) bool {
	found := false
	for _, name := range s.in(spanOf(c.Key, c.RangeEnd)) {
		kv := s.at(name, s.rev)
		if kv == nil {
			continue
		}
		found = true
		if !compareOne(c, kv) {
			return false
		}
	}
	return found || c.Target != pb.Compare_VALUE && compareOne(c, &mvccpb.KeyValue{})
}

func compareOne(c *pb.Compare, kv *mvccpb.KeyValue) bool {
	var result int
	switch c.Target {
	case pb.Compare_VALUE:
		result = bytes.Compare(kv.Value, c.GetValue())
	case pb.Compare_CREATE:
		result = cmp.Compare(kv.CreateRevision, c.GetCreateRevision())
	case pb.Compare_MOD:
		result = cmp.Compare(kv.ModRevision, c.GetModRevision())
	case pb.Compare_VERSION:
		result = cmp.Compare(kv.Version, c.GetVersion())
	case pb.Compare_LEASE:
		result = cmp.Compare(kv.Lease, c.GetLease())
	}
	switch c.Result {
	case pb.Compare_EQUAL:
		return result == 0
	case pb.Compare_NOT_EQUAL:
		return result != 0
	case pb.Compare_GREATER:
		return result > 0
	case pb.Compare_LESS:
		return result < 0
	}
	return true
}
