package etcdtest

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest/member"
)

// Cluster is an etcd of several members, of one test's own. As a Server it is all of them.
type Cluster struct {
	*Server
	members []*Member
	client  *clientv3.Client
}

// StartCluster launches an etcd of n members that goes away with the test. flags are etcd's. It never is the server that
// ELOCK_TEST_ENDPOINTS names.
func StartCluster(tb testing.TB, n int, flags ...string) *Cluster {
	tb.Helper()
	procs, err := member.LaunchCluster(tb.Context(), n, member.Config{Flags: flags})
	if err != nil {
		tb.Fatal(err)
	}
	c := &Cluster{Server: &Server{own: true}}
	for _, proc := range procs {
		tb.Cleanup(func() {
			if err := proc.Stop(); err != nil {
				tb.Errorf("stop etcd: %v", err)
			}
		})
		c.endpoints = append(c.endpoints, proc.Endpoint())
		c.members = append(c.members, &Member{
			Server: &Server{endpoints: []string{proc.Endpoint()}, own: true},
			proc:   proc,
		})
	}
	c.client = c.Client(tb)
	return c
}

// Members are the cluster's servers, in no particular order.
func (c *Cluster) Members() []*Member { return c.members }

// Leader waits until one member leads and returns it. It fails the test if none does within half a minute.
func (c *Cluster) Leader(tb testing.TB) *Member {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if leader := c.leader(ctx); leader != nil {
			return leader
		}
		select {
		case <-ctx.Done():
			tb.Fatal("etcdtest: the cluster has no leader")
		case <-tick.C:
		}
	}
}

// leader asks every member and believes the newest term: a leader that was paused or cut off still takes itself for one.
func (c *Cluster) leader(ctx context.Context) *Member {
	var leader *Member
	var term uint64
	for _, m := range c.members {
		ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		status, err := c.client.Status(ctx, m.Endpoint())
		cancel()
		if err != nil || status.RaftTerm < term {
			continue
		}
		if status.RaftTerm > term {
			leader, term = nil, status.RaftTerm
		}
		if status.Leader == status.Header.MemberId {
			leader = m
		}
	}
	return leader
}
