package etcdsim

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/proto"
)

// etcd's defaults.
const (
	defaultTxnOps       = 128
	defaultRequestBytes = 1.5 * 1024 * 1024
)

// limits are on the size of one request: its comparisons, and its operations in a branch, and all of it in bytes.
type limits struct{ txnOps, requestBytes int }

// SetLimits is etcd's --max-txn-ops and --max-request-bytes.
func (s *Sim) SetLimits(txnOps, requestBytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits = limits{txnOps, requestBytes}
}

// checkSize refuses a write that is too large. etcd counts what it adds to the request, too, some 30 bytes.
func (s *Sim) checkSize(req proto.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if proto.Size(req) > s.limits.requestBytes {
		return rpctypes.ErrGRPCRequestTooLarge
	}
	return nil
}

// What follows is what etcd refuses before it looks at its store.

func checkRange(r *pb.RangeRequest) error {
	if len(r.Key) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	_, order := pb.RangeRequest_SortOrder_name[int32(r.SortOrder)]
	_, target := pb.RangeRequest_SortTarget_name[int32(r.SortTarget)]
	if !order || !target {
		return rpctypes.ErrGRPCInvalidSortOption
	}
	return nil
}

func checkPut(r *pb.PutRequest) error {
	switch {
	case len(r.Key) == 0:
		return rpctypes.ErrGRPCEmptyKey
	case r.IgnoreValue && len(r.Value) != 0:
		return rpctypes.ErrGRPCValueProvided
	case r.IgnoreLease && r.Lease != 0:
		return rpctypes.ErrGRPCLeaseProvided
	}
	return nil
}

func checkDelete(r *pb.DeleteRangeRequest) error {
	if len(r.Key) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	return nil
}

func checkTxn(r *pb.TxnRequest, limit int) error {
	if err := checkOps(r, limit); err != nil {
		return err
	}
	for _, branch := range [][]*pb.RequestOp{r.Success, r.Failure} {
		if _, _, err := checkOverlaps(branch); err != nil {
			return err
		}
	}
	return nil
}

// checkOps gives a nested transaction what its parent's longest list leaves of the limit.
func checkOps(r *pb.TxnRequest, limit int) error {
	used := max(len(r.Compare), len(r.Success), len(r.Failure))
	if used > limit {
		return rpctypes.ErrGRPCTooManyOps
	}
	for _, c := range r.Compare {
		if len(c.Key) == 0 {
			return rpctypes.ErrGRPCEmptyKey
		}
	}
	for _, branch := range [][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range branch {
			if err := checkOp(op, limit-used); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkOp(op *pb.RequestOp, limit int) error {
	switch op := op.Request.(type) {
	case *pb.RequestOp_RequestRange:
		return checkRange(op.RequestRange)
	case *pb.RequestOp_RequestPut:
		return checkPut(op.RequestPut)
	case *pb.RequestOp_RequestDeleteRange:
		return checkDelete(op.RequestDeleteRange)
	case *pb.RequestOp_RequestTxn:
		return checkOps(op.RequestTxn, limit)
	}
	return rpctypes.ErrGRPCKeyNotFound
}

// checkOverlaps refuses a key that is put twice, or put and deleted, in ops and the transactions nested in them.
// As in etcd, a deletion of all keys from one on is missed, and so is a deletion that is nested after a put.
func checkOverlaps(ops []*pb.RequestOp) (puts map[string]bool, dels []span, err error) {
	deleted := func(key string) bool {
		for _, d := range dels {
			if d.has(key) {
				return true
			}
		}
		return false
	}
	puts = make(map[string]bool)
	put := func(key string, alright bool) error {
		if puts[key] && !alright || deleted(key) {
			return rpctypes.ErrGRPCDuplicateKey
		}
		return nil
	}

	for _, op := range ops {
		if r := op.GetRequestDeleteRange(); r != nil {
			d := spanOf(r.Key, r.RangeEnd)
			d.open = false
			dels = append(dels, d)
		}
	}
	for _, op := range ops {
		r := op.GetRequestTxn()
		if r == nil {
			continue
		}
		thenPuts, thenDels, err := checkOverlaps(r.Success)
		if err != nil {
			return nil, nil, err
		}
		elsePuts, elseDels, err := checkOverlaps(r.Failure)
		if err != nil {
			return nil, nil, err
		}
		for key := range thenPuts {
			if err := put(key, false); err != nil {
				return nil, nil, err
			}
			puts[key] = true
		}
		for key := range elsePuts {
			if err := put(key, thenPuts[key]); err != nil { // only one of the branches runs
				return nil, nil, err
			}
			puts[key] = true
		}
		dels = append(append(dels, thenDels...), elseDels...)
	}
	for _, op := range ops {
		if r := op.GetRequestPut(); r != nil {
			key := string(r.Key)
			if err := put(key, false); err != nil {
				return nil, nil, err
			}
			puts[key] = true
		}
	}
	return puts, dels, nil
}
