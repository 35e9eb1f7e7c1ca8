package etcdsim

import (
	"context"
	"maps"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// etcd's defaults.
const (
	// requestTimeout is how long a member tries to serve a request.
	requestTimeout = 7 * time.Second
	// leaderTimeout is how long a member without leader keeps the streams that require one.
	leaderTimeout = 3 * time.Second
)

// LoseLeader leaves the cluster without leader for d, or for longer if that was said before. Until then writes and
// linearizable reads wait, and fail after 7 seconds; no lease expires; streams that require a leader are refused, and
// those that exist are cancelled after 3 seconds. The next leader gives all leases their full time.
func (s *Sim) LoseLeader(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if back := time.Now().Add(d); back.After(s.leaderBack) {
		s.leaderBack = back
	}
	time.AfterFunc(d, s.elect)
	if s.leaderless != nil {
		return
	}
	lost := make(chan struct{})
	s.leaderless = lost
	close(s.leaderLost)
	for _, l := range s.leases.byID {
		l.timer.Stop()
	}
	time.AfterFunc(leaderTimeout, func() { s.cancelStreams(lost) })
}

func (s *Sim) elect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaderless == nil || time.Now().Before(s.leaderBack) || s.ctx.Err() != nil {
		return
	}
	s.term++
	close(s.leaderless)
	s.leaderless, s.leaderLost = nil, make(chan struct{})
	for _, id := range slices.Sorted(maps.Keys(s.leases.byID)) {
		s.refresh(s.leases.byID[id])
	}
}

func (s *Sim) cancelStreams(lost chan struct{}) {
	s.mu.Lock()
	still := s.leaderless == lost
	s.mu.Unlock()
	if !still {
		return
	}
	for _, c := range s.everyone() {
		for _, st := range c.openStreams() {
			if requiresLeader(st.ctx) {
				st.fail(rpctypes.ErrGRPCNoLeader)
			}
		}
	}
}

// awaitLeader waits until there is a leader. It fails with timeout if that takes too long, and with ErrGRPCNoLeader if the
// call does not want to wait.
func (s *Sim) awaitLeader(ctx context.Context, timeout error) error {
	var limit <-chan time.Time
	for {
		s.mu.Lock()
		back := s.leaderless
		s.mu.Unlock()
		if back == nil {
			return nil
		}
		if requiresLeader(ctx) {
			return rpctypes.ErrGRPCNoLeader
		}
		if limit == nil {
			timer := time.NewTimer(requestTimeout)
			defer timer.Stop()
			limit = timer.C
		}
		select {
		case <-back:
		case <-limit:
			return timeout
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ctx.Done():
			return errStopped
		}
	}
}

func requiresLeader(ctx context.Context) bool {
	md, _ := metadata.FromOutgoingContext(ctx)
	v := md[rpctypes.MetadataRequireLeaderKey]
	return len(v) > 0 && v[0] == rpctypes.MetadataHasLeader
}

func needsLeader(req proto.Message) bool {
	switch r := req.(type) {
	case *pb.RangeRequest:
		return !r.Serializable
	case *pb.TxnRequest:
		return !onlyReads(r, func(read *pb.RangeRequest) bool { return read.Serializable })
	case *pb.LeaseLeasesRequest:
		return false
	}
	return true
}
