package etcdsim

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

const (
	// minTTL is what etcd grants at least, in seconds: one and a half of its default election timeouts.
	minTTL = 2
	maxTTL = 9_000_000_000 // seconds
	// firstLease makes ids as long as etcd's, and the same in every run.
	firstLease = 0x694d9f0c00000001
)

type leases struct {
	byID  map[int64]*lease
	byKey map[string]int64
	next  int64
}

type lease struct {
	id, ttl int64
	expiry  time.Duration // on the lease clock
	keys    map[string]struct{}
	timer   *time.Timer
	revoked chan struct{}
}

func newLeases() *leases {
	return &leases{byID: make(map[int64]*lease), byKey: make(map[string]int64), next: firstLease}
}

// attach moves key to the lease with that id, or to none.
func (le *leases) attach(key string, id int64) {
	if l := le.byID[le.byKey[key]]; l != nil {
		delete(l.keys, key)
	}
	delete(le.byKey, key)
	if l := le.byID[id]; l != nil {
		l.keys[key] = struct{}{}
		le.byKey[key] = id
	}
}

// A leaseClock is what leases expire by. It may run faster than the clock of the clients.
type leaseClock struct {
	base  time.Duration // what it showed
	since time.Time     // at this time
	rate  float64
}

func (c *leaseClock) now() time.Duration {
	return c.base + time.Duration(float64(time.Since(c.since))*c.rate)
}

// until is how long it takes the clock to show at least t.
func (c *leaseClock) until(t time.Duration) time.Duration {
	return time.Duration(float64(t-c.now())/c.rate) + 1
}

func (c *leaseClock) set(rate float64) {
	c.base, c.since, c.rate = c.now(), time.Now(), rate
}

func (s *Sim) grant(r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	id := r.ID
	for id == 0 || r.ID == 0 && s.leases.byID[id] != nil {
		id = s.leases.next
		s.leases.next++
	}
	switch {
	case r.TTL > maxTTL:
		return nil, rpctypes.ErrGRPCLeaseTTLTooLarge
	case s.leases.byID[id] != nil:
		return nil, rpctypes.ErrGRPCLeaseExist
	}
	l := &lease{
		id:      id,
		ttl:     max(r.TTL, minTTL),
		keys:    make(map[string]struct{}),
		revoked: make(chan struct{}),
	}
	s.leases.byID[id] = l
	s.refresh(l)
	return &pb.LeaseGrantResponse{Header: s.header(), ID: id, TTL: l.ttl}, nil
}

// refresh gives l its full time.
func (s *Sim) refresh(l *lease) {
	l.expiry = s.leaseClock.now() + time.Duration(l.ttl)*time.Second
	s.arm(l)
}

// arm sets the timer that revokes l.
func (s *Sim) arm(l *lease) {
	if l.timer != nil {
		l.timer.Stop()
	}
	l.timer = time.AfterFunc(max(0, s.leaseClock.until(l.expiry))+s.expiryDelay, func() { s.expire(l) })
}

func (s *Sim) expire(l *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ctx.Err() != nil, s.leases.byID[l.id] != l:
	case s.leaderless != nil: // the next leader renews all leases
	case s.leaseClock.now() < l.expiry:
		s.arm(l) // it was renewed meanwhile
	case s.alarms.corrupt:
		l.timer.Reset(revokeRetry)
	default:
		s.end(l)
	}
}

// end revokes l and deletes its keys, in one revision.
func (s *Sim) end(l *lease) {
	l.timer.Stop()
	w := s.write()
	for _, key := range slices.Sorted(maps.Keys(l.keys)) {
		w.remove(span{key: key, single: true})
	}
	delete(s.leases.byID, l.id)
	close(l.revoked)
	s.commit(w)
}

func (s *Sim) revoke(r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	l := s.leases.byID[r.ID]
	if l == nil {
		return nil, rpctypes.ErrGRPCLeaseNotFound
	}
	s.end(l)
	return &pb.LeaseRevokeResponse{Header: s.header()}, nil
}

func (s *Sim) timeToLive(r *pb.LeaseTimeToLiveRequest) *pb.LeaseTimeToLiveResponse {
	l := s.leases.byID[r.ID]
	if l == nil {
		return &pb.LeaseTimeToLiveResponse{Header: s.header(), ID: r.ID, TTL: -1}
	}
	left := l.expiry - s.leaseClock.now()
	resp := &pb.LeaseTimeToLiveResponse{Header: s.header(), ID: l.id, TTL: int64(left.Seconds()), GrantedTTL: l.ttl}
	if r.Keys {
		for _, key := range slices.Sorted(maps.Keys(l.keys)) {
			resp.Keys = append(resp.Keys, []byte(key))
		}
	}
	return resp
}

// list returns all leases, the next to expire first.
func (s *Sim) list() *pb.LeaseLeasesResponse {
	resp := &pb.LeaseLeasesResponse{Header: s.header()}
	all := slices.SortedFunc(maps.Values(s.leases.byID), func(a, b *lease) int {
		return cmp.Or(cmp.Compare(a.expiry, b.expiry), cmp.Compare(a.id, b.id))
	})
	for _, l := range all {
		resp.Leases = append(resp.Leases, &pb.LeaseStatus{ID: l.id})
	}
	return resp
}

// renew gives a lease its full time, or answers with a TTL of 0 if there is none. A lease that is past its time and not yet
// revoked is not saved any more.
func (s *Sim) renew(ctx context.Context, id int64, token string) (*pb.LeaseKeepAliveResponse, error) {
	for {
		if err := s.awaitLeader(ctx, rpctypes.ErrGRPCNoLeader); err != nil {
			return nil, err
		}
		s.mu.Lock()
		if err := s.auth.check(token); err != nil {
			s.mu.Unlock()
			return nil, err
		}
		resp := &pb.LeaseKeepAliveResponse{Header: s.header(), ID: id}
		l := s.leases.byID[id]
		switch {
		case s.ctx.Err() != nil:
			s.mu.Unlock()
			return nil, errStopped
		case l == nil:
			s.mu.Unlock()
			return resp, nil
		case s.leaderless != nil:
			s.mu.Unlock()
			continue
		case s.leaseClock.now() < l.expiry:
			s.refresh(l)
			resp.TTL = l.ttl
			s.mu.Unlock()
			return resp, nil
		}
		lost := s.leaderLost
		s.mu.Unlock()
		select {
		case <-l.revoked:
		case <-lost:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.ctx.Done():
			return nil, errStopped
		}
	}
}

// keepAlives is the server's end of a stream of renewals.
type keepAlives struct {
	s  *Sim
	st *stream
}

func (k *keepAlives) receive(msg any) {
	resp, err := k.s.renew(k.st.ctx, msg.(*pb.LeaseKeepAliveRequest).ID, k.st.token)
	if err != nil {
		k.st.fail(err)
		return
	}
	k.st.send(resp)
}

func (k *keepAlives) closeSend() { k.st.finish() }
func (k *keepAlives) close()     {}
