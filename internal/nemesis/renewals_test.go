package nemesis_test

import (
	"context"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// renewals tells the journal of leases that are granted or renewed.
type renewals struct {
	clientv3.Lease
	journal journal
}

// renewals is the client's Lease. For each third client a renewal is a call of its own, as it is where programs wrap the Lease.
func (c *client) renewals() clientv3.Lease {
	r := renewals{c.etcd.Lease, c.journal}
	if c.ID%3 == 0 {
		return r
	}
	return streamed{r, pb.NewLeaseClient(c.etcd.ActiveConnection())}
}

func (r renewals) Grant(ctx context.Context, seconds int64) (*clientv3.LeaseGrantResponse, error) {
	call := now()
	resp, err := r.Lease.Grant(ctx, seconds)
	if err == nil {
		r.renewed(int64(resp.ID), resp.TTL, call)
	}
	return resp, err
}

func (r renewals) KeepAliveOnce(ctx context.Context, id clientv3.LeaseID) (*clientv3.LeaseKeepAliveResponse, error) {
	call := now()
	resp, err := r.Lease.KeepAliveOnce(ctx, id)
	if err == nil {
		r.renewed(int64(resp.ID), resp.TTL, call)
	}
	return resp, err
}

func (r renewals) renewed(lease, ttl, call int64) {
	r.journal.add(event{Kind: renewed, Lease: lease, Call: call, At: now(), Value: ttl})
}

// streamed renews leases over a stream that stays open, as it is where programs use etcd's own Lease.
type streamed struct {
	renewals
	remote pb.LeaseClient
}

func (s streamed) KeepAliveStream(ctx context.Context) (pb.Lease_LeaseKeepAliveClient, error) {
	remote, err := s.remote.LeaseKeepAlive(ctx)
	if err != nil {
		return nil, err
	}
	return &stream{Lease_LeaseKeepAliveClient: remote, renewals: s.renewals, calls: make(map[int64][]int64)}, nil
}

// A stream knows which request an answer is for: etcd answers those of a lease in their order.
type stream struct {
	pb.Lease_LeaseKeepAliveClient
	renewals renewals

	mu    sync.Mutex
	calls map[int64][]int64 // by lease, when they were sent
}

func (s *stream) Send(req *pb.LeaseKeepAliveRequest) error {
	s.mu.Lock()
	s.calls[req.ID] = append(s.calls[req.ID], now())
	s.mu.Unlock()
	return s.Lease_LeaseKeepAliveClient.Send(req)
}

func (s *stream) Recv() (*pb.LeaseKeepAliveResponse, error) {
	resp, err := s.Lease_LeaseKeepAliveClient.Recv()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	call := s.calls[resp.ID][0]
	s.calls[resp.ID] = s.calls[resp.ID][1:]
	s.mu.Unlock()
	s.renewals.renewed(resp.ID, resp.TTL, call)
	return resp, nil
}
