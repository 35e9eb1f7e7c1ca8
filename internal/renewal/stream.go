package renewal

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/clock"
	"github.com/phpgao/elock/internal/xctx"
)

// open opens a stream.
func (n *Line[L]) open(now clock.Instant) {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(n.cfg.Base))
	st := &stream[L]{cancel: cancel, out: make(chan []int64, 64), pending: make(map[int64]sent[L])}
	n.current, n.opened = st, now
	n.wait = min(max(2*n.wait, xctx.FirstPause), maxWait)
	if !n.cfg.Spawn(func() { n.carry(ctx, st) }) {
		cancel()
	}
}

// carry runs a stream until it breaks or ctx ends.
func (n *Line[L]) carry(ctx context.Context, st *stream[L]) {
	defer st.cancel()
	tell := func(a Answer[L]) {
		a.stream = st
		select {
		case n.answers <- a:
		case <-ctx.Done():
		}
	}
	remote, err := n.cfg.Stream(ctx)
	if err != nil {
		tell(Answer[L]{broken: true, err: err})
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		st.send(ctx, remote)
	}()
	for {
		resp, err := remote.Recv()
		if err != nil {
			tell(Answer[L]{broken: true, err: err})
			st.cancel()
			<-ended
			return
		}
		tell(Answer[L]{id: resp.ID, ttl: resp.TTL})
	}
}

// send sends what is to go out until the stream breaks or ctx ends.
func (st *stream[L]) send(ctx context.Context, remote pb.Lease_LeaseKeepAliveClient) {
	for {
		select {
		case <-ctx.Done():
			return
		case ids := <-st.out:
			for _, id := range ids {
				if remote.Send(&pb.LeaseKeepAliveRequest{ID: id}) != nil {
					return // Recv tells why
				}
			}
		}
	}
}
