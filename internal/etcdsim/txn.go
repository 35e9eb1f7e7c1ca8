package etcdsim

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// A branch is what a transaction will do, and those nested in it. Comparisons see the state before the whole transaction, so
// all branches are chosen before anything is written.
type branch struct {
	then   bool
	ops    []*pb.RequestOp
	nested []*branch // one for each transaction in ops
}

func (s *store) choose(r *pb.TxnRequest) *branch {
	b := &branch{then: s.holds(r.Compare), ops: r.Failure}
	if b.then {
		b.ops = r.Success
	}
	for _, op := range b.ops {
		if t := op.GetRequestTxn(); t != nil {
			b.nested = append(b.nested, s.choose(t))
		}
	}
	return b
}

// admit finds what would fail in b, so that it fails as a whole.
func (s *store) admit(b *branch, le *leases) error {
	nested := b.nested
	for _, op := range b.ops {
		var err error
		switch op := op.Request.(type) {
		case *pb.RequestOp_RequestRange:
			switch rev := op.RequestRange.Revision; {
			case rev == 0:
			case rev > s.rev:
				err = rpctypes.ErrGRPCFutureRev
			case rev < s.compacted:
				err = rpctypes.ErrGRPCCompacted
			}
		case *pb.RequestOp_RequestPut:
			err = s.admitPut(op.RequestPut, le)
		case *pb.RequestOp_RequestTxn:
			err = s.admit(nested[0], le)
			nested = nested[1:]
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *store) admitPut(r *pb.PutRequest, le *leases) error {
	if r.Lease != 0 && le.byID[r.Lease] == nil {
		return rpctypes.ErrGRPCLeaseNotFound
	}
	if (r.IgnoreValue || r.IgnoreLease) && s.at(string(r.Key), s.rev) == nil {
		return rpctypes.ErrGRPCKeyNotFound
	}
	return nil
}

// run carries b out. The headers of nested transactions have no revision, as in etcd.
func (w *write) run(b *branch) *pb.TxnResponse {
	resp := &pb.TxnResponse{Header: &pb.ResponseHeader{}, Succeeded: b.then}
	nested := b.nested
	for _, op := range b.ops {
		var r pb.ResponseOp
		switch op := op.Request.(type) {
		case *pb.RequestOp_RequestRange:
			got, err := w.read(op.RequestRange, w.seen())
			if err != nil {
				panic("etcdsim: a read failed that was admitted: " + err.Error())
			}
			r.Response = &pb.ResponseOp_ResponseRange{ResponseRange: got}
		case *pb.RequestOp_RequestPut:
			r.Response = &pb.ResponseOp_ResponsePut{ResponsePut: w.doPut(op.RequestPut)}
		case *pb.RequestOp_RequestDeleteRange:
			r.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: w.doDelete(op.RequestDeleteRange)}
		case *pb.RequestOp_RequestTxn:
			r.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: w.run(nested[0])}
			nested = nested[1:]
		}
		resp.Responses = append(resp.Responses, &r)
	}
	return resp
}

func (w *write) doPut(r *pb.PutRequest) *pb.PutResponse {
	resp := &pb.PutResponse{Header: &pb.ResponseHeader{Revision: w.base + 1}}
	value, lease := r.Value, r.Lease
	prev := w.at(string(r.Key), w.seen())
	if r.IgnoreValue {
		value = prev.GetValue()
	}
	if r.IgnoreLease {
		lease = prev.GetLease()
	}
	if r.PrevKv {
		resp.PrevKv = prev
	}
	w.put(r.Key, value, lease)
	return resp
}

func (w *write) doDelete(r *pb.DeleteRangeRequest) *pb.DeleteRangeResponse {
	resp := &pb.DeleteRangeResponse{Header: &pb.ResponseHeader{}}
	sp := spanOf(r.Key, r.RangeEnd)
	if r.PrevKv {
		resp.PrevKvs = w.live(sp)
	}
	resp.Deleted = w.remove(sp)
	resp.Header.Revision = w.seen()
	return resp
}

func (w *write) live(sp span) (kvs []*mvccpb.KeyValue) {
	for _, name := range w.in(sp) {
		if kv := w.at(name, w.seen()); kv != nil {
			kvs = append(kvs, kv)
		}
	}
	return kvs
}

// onlyReads reports whether all that r does is reads, and such ones. etcd takes a nested transaction for a write.
func onlyReads(r *pb.TxnRequest, such func(*pb.RangeRequest) bool) bool {
	for _, branch := range [][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range branch {
			if read := op.GetRequestRange(); read == nil || !such(read) {
				return false
			}
		}
	}
	return true
}
