package etcdsim

import (
	"context"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/proto"
)

// A Sim is an etcd cluster in memory. Its methods may be called from several goroutines.
type Sim struct {
	ctx   context.Context // ends with Close
	close context.CancelFunc
	seed  uint64

	mu sync.Mutex // nothing waits under it
	store
	leases      *leases
	leaseClock  leaseClock
	expiryDelay time.Duration
	watches     watches
	auth        auth
	alarms      alarms
	limits      limits
	term        uint64
	leaderless  chan struct{} // nil while there is a leader, closed when there is one again
	leaderLost  chan struct{} // closed when the leader is lost
	leaderBack  time.Time
	onCommit    []func(int64, []*mvccpb.Event)

	clientsMu sync.Mutex
	clients   []*Client
	plan      Plan
}

// New returns an empty cluster. The seed is for the faults of Faults; everything else is without chance.
func New(seed uint64) *Sim {
	ctx, cancel := context.WithCancel(context.Background())
	return &Sim{
		ctx:        ctx,
		close:      cancel,
		seed:       seed,
		store:      newStore(),
		leases:     newLeases(),
		leaseClock: leaseClock{since: time.Now(), rate: 1},
		limits:     limits{defaultTxnOps, defaultRequestBytes},
		term:       2,
		leaderLost: make(chan struct{}),
	}
}

// Close ends the cluster and closes its clients. Calls under way fail, and nothing changes any more.
func (s *Sim) Close() {
	s.close()
	s.mu.Lock()
	for _, l := range s.leases.byID {
		l.timer.Stop()
	}
	s.watches.stop()
	s.mu.Unlock()
	for _, c := range s.everyone() {
		c.Close()
	}
}

// OnCommit has f called with each revision that changes keys, and its events with the state before them, at the moment
// of the change: before any client can see it. So f must not call the Sim or its clients, and must not wait.
func (s *Sim) OnCommit(f func(rev int64, events []*mvccpb.Event)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onCommit = append(s.onCommit, f)
}

// Revision is the store's revision.
func (s *Sim) Revision() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rev
}

// Compact forgets all history but the current state.
func (s *Sim) Compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.compact(s.rev)
}

// SetLeaseClock makes leases expire by a clock that is faster than the clients', by that many percent.
func (s *Sim) SetLeaseClock(percent float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaseClock.set(1 + percent/100)
	for _, l := range s.leases.byID {
		s.arm(l)
	}
}

// SetExpiryDelay makes etcd notice expired leases late, as real ones do by up to half a second. The default is not at all.
func (s *Sim) SetExpiryDelay(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expiryDelay = d
	for _, l := range s.leases.byID {
		s.arm(l)
	}
}

// BreakWatches breaks the watch streams of all clients: etcd's client gets the error Unavailable, and opens new ones.
func (s *Sim) BreakWatches() {
	for _, c := range s.everyone() {
		c.breakStreams(func(st *stream) bool { return st.method == "Watch" })
	}
}

func (s *Sim) everyone() []*Client {
	s.clientsMu.Lock()
	defer s.clientsMu.Unlock()
	return slices.Clone(s.clients)
}

func (s *Sim) write() *write {
	return &write{store: &s.store, leases: s.leases, base: s.rev}
}

// commit makes w's changes the current state, and tells of them.
func (s *Sim) commit(w *write) {
	if len(w.changes) == 0 {
		return
	}
	s.rev++
	s.watches.notify(s, w.changes)
	if len(s.onCommit) == 0 {
		return
	}
	events := make([]*mvccpb.Event, len(w.changes))
	for i, c := range w.changes {
		events[i] = proto.CloneOf(c.event(true))
	}
	for _, f := range s.onCommit {
		f(s.rev, events)
	}
}

// header is of etcd's answers. The ids are made up.
func (s *Sim) header() *pb.ResponseHeader {
	return s.headerAt(s.rev)
}

func (s *Sim) headerAt(rev int64) *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: 0xcdf818194e3a8c32, MemberId: 0x8e9e05c52164694d, Revision: rev, RaftTerm: s.term}
}

// fill completes a header as etcd does before it answers.
func (s *Sim) fill(h *pb.ResponseHeader) {
	rev := h.Revision
	if rev == 0 {
		rev = s.rev
	}
	proto.Merge(h, s.headerAt(rev))
}

// serve carries out one call.
func (s *Sim) serve(ctx context.Context, req proto.Message, token string) (proto.Message, error) {
	if err := s.precheck(req); err != nil {
		return nil, err
	}
	writes := changes(req)
	if writes { // reads are checked where they are answered
		if err := s.checkToken(token); err != nil {
			return nil, err
		}
		if err := s.checkSize(req); err != nil {
			return nil, err
		}
	}
	if needsLeader(req) {
		timeout := rpctypes.ErrGRPCTimeout
		if _, ok := req.(*pb.LeaseTimeToLiveRequest); ok {
			timeout = rpctypes.ErrGRPCNoLeader
		}
		if err := s.awaitLeader(ctx, timeout); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return nil, errStopped
	}
	if _, anyone := req.(*pb.AuthenticateRequest); !writes && !anyone {
		if err := s.auth.check(token); err != nil {
			return nil, err
		}
	}
	if err := s.alarms.refuse(req); err != nil {
		return nil, err
	}
	resp, err := s.answer(req)
	if err == nil {
		err = s.alarms.after(req)
	}
	return resp, err
}

func (s *Sim) precheck(req proto.Message) error {
	switch r := req.(type) {
	case *pb.RangeRequest:
		return checkRange(r)
	case *pb.PutRequest:
		return checkPut(r)
	case *pb.DeleteRangeRequest:
		return checkDelete(r)
	case *pb.TxnRequest:
		s.mu.Lock()
		defer s.mu.Unlock()
		return checkTxn(r, s.limits.txnOps)
	}
	return nil
}

func (s *Sim) answer(req proto.Message) (proto.Message, error) {
	switch r := req.(type) {
	case *pb.RangeRequest:
		resp, err := s.read(r, s.rev)
		if err != nil {
			return nil, err
		}
		s.fill(resp.Header)
		return resp, nil
	case *pb.PutRequest:
		if err := s.admitPut(r, s.leases); err != nil {
			return nil, err
		}
		w := s.write()
		resp := w.doPut(r)
		s.commit(w)
		s.fill(resp.Header)
		return resp, nil
	case *pb.DeleteRangeRequest:
		w := s.write()
		resp := w.doDelete(r)
		s.commit(w)
		s.fill(resp.Header)
		return resp, nil
	case *pb.TxnRequest:
		b := s.choose(r)
		if err := s.admit(b, s.leases); err != nil {
			return nil, err
		}
		w := s.write()
		resp := w.run(b)
		s.commit(w)
		s.fill(resp.Header)
		return resp, nil
	case *pb.CompactionRequest:
		if err := s.compact(r.Revision); err != nil {
			return nil, err
		}
		return &pb.CompactionResponse{Header: s.header()}, nil
	case *pb.LeaseGrantRequest:
		return orError(s.grant(r))
	case *pb.LeaseRevokeRequest:
		return orError(s.revoke(r))
	case *pb.LeaseTimeToLiveRequest:
		return s.timeToLive(r), nil
	case *pb.LeaseLeasesRequest:
		return s.list(), nil
	case *pb.AuthenticateRequest:
		return orError(s.authenticate())
	}
	return nil, errUnimplemented
}

// orError keeps a nil pointer from becoming an interface that is not nil.
func orError[M proto.Message](m M, err error) (proto.Message, error) {
	if err != nil {
		return nil, err
	}
	return m, nil
}
