package etcdsim

import (
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/proto"
)

// revokeRetry is how long etcd waits before it revokes an expired lease again, if that failed.
const revokeRetry = 3 * time.Second

// alarms say what etcd refuses for now. The Sim's mutex guards them.
type alarms struct {
	noSpace, corrupt bool
	crossing         bool // the next request that needs space exceeds the quota
}

// SetAlarm raises or clears an alarm. Under NOSPACE etcd refuses what needs space: puts, grants of leases, and transactions
// that put in either branch. Under CORRUPT it refuses all that changes keys or leases, and no lease expires; as in etcd,
// renewals and reads still pass.
func (s *Sim) SetAlarm(alarm pb.AlarmType, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch alarm {
	case pb.AlarmType_NOSPACE:
		s.alarms.noSpace = on
		s.alarms.crossing = false
	case pb.AlarmType_CORRUPT:
		s.alarms.corrupt = on
	}
}

// CrossQuota has the next request that needs space exceed etcd's quota while it is carried out. Its answer is that there is
// no space, although it has been carried out, and the alarm NOSPACE is raised.
func (s *Sim) CrossQuota() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alarms.crossing = true
}

// refuse is what the alarms say to a request.
func (a *alarms) refuse(req proto.Message) error {
	switch {
	case a.corrupt && changes(req):
		return rpctypes.ErrGRPCCorrupt
	case a.noSpace && needsSpace(req):
		return rpctypes.ErrGRPCNoSpace
	}
	return nil
}

// after is what the quota says to a request that was carried out.
func (a *alarms) after(req proto.Message) error {
	if !a.crossing || !needsSpace(req) {
		return nil
	}
	a.crossing, a.noSpace = false, true
	return rpctypes.ErrGRPCNoSpace
}

// changes reports whether etcd takes a request for one that changes keys or leases.
func changes(req proto.Message) bool {
	switch r := req.(type) {
	case *pb.PutRequest, *pb.DeleteRangeRequest, *pb.CompactionRequest, *pb.LeaseGrantRequest, *pb.LeaseRevokeRequest:
		return true
	case *pb.TxnRequest:
		return !onlyReads(r, func(*pb.RangeRequest) bool { return true })
	}
	return false
}

func needsSpace(req proto.Message) bool {
	switch r := req.(type) {
	case *pb.PutRequest, *pb.LeaseGrantRequest:
		return true
	case *pb.TxnRequest:
		for _, branch := range [][]*pb.RequestOp{r.Success, r.Failure} {
			for _, op := range branch {
				if op.GetRequestPut() != nil || op.GetRequestTxn() != nil && needsSpace(op.GetRequestTxn()) {
					return true
				}
			}
		}
	}
	return false
}
