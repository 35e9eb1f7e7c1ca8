package etcdtest

import (
	"context"
	"crypto/tls"
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest/member"
	"github.com/phpgao/elock/internal/etcdtest/mode"
)

// Cluster is an etcd of several members, of one test's own. As a Server it is all of them.
type Cluster struct {
	*Server
	members []*Member
	client  *clientv3.Client
}

// StartCluster launches an etcd of n members that goes away with the test. flags are etcd's. It never is the server that
// ELOCK_TEST_ENDPOINTS names, nor behind a gRPC proxy; with flag -auth it has auth,
// and the plain user may use the default prefix, too.
func StartCluster(tb testing.TB, n int, flags ...string) *Cluster {
	tb.Helper()
	return startCluster(tb, setup{members: n, flags: flags})
}

// StartClusterApart is StartCluster with a network between the members that makes each round trip longer by rtt, an even
// number of milliseconds. Clients are as near to all of them as ever.
func StartClusterApart(tb testing.TB, n int, rtt time.Duration, flags ...string) *Cluster {
	tb.Helper()
	return startCluster(tb, setup{members: n, flags: flags, between: func(hostport string) string {
		p := Proxy(tb, hostport)
		p.Delay(tb, rtt/2, 0)
		return p.Endpoint()
	}})
}

func startCluster(tb testing.TB, s setup) *Cluster {
	tb.Helper()
	s.version = mode.Version()
	if mode.Auth() {
		s.tokens = simpleTokens(shortTokens)
	}
	c := launch(tb, s)
	if mode.Auth() {
		if err := c.grant("/elock/"); err != nil {
			tb.Fatal(err)
		}
	}
	return c
}

// StartClusterAs is StartCluster without auth and with the given version of etcd, such as member.V35, whatever the flags say.
func StartClusterAs(tb testing.TB, version string, n int, flags ...string) *Cluster {
	tb.Helper()
	return launch(tb, setup{version: version, members: n, flags: flags})
}

// StartTLS launches an etcd of one member that goes away with the test and serves only clients with a certificate, such as
// its Client has. It has no auth, whatever the flags say.
func StartTLS(tb testing.TB) *Member {
	tb.Helper()
	s := setup{version: mode.Version(), members: 1}
	s.flags, s.tls = mutualTLS(tb)
	return launch(tb, s).members[0]
}

// setup is what launch needs to know.
type setup struct {
	version string
	members int
	flags   []string
	tokens  []string    // etcd's flags for tokens; nil without auth
	tls     *tls.Config // a client's; nil without TLS
	between func(hostport string) string
}

func launch(tb testing.TB, want setup) *Cluster {
	tb.Helper()
	c := &Cluster{Server: &Server{own: true, tls: want.tls}}
	cfg := member.Config{Version: want.version, Flags: want.flags, TLS: want.tls, Between: want.between}
	if want.tokens != nil {
		withUsers(c.Server, &cfg, want.tokens)
	}
	procs, err := member.LaunchCluster(tb.Context(), want.members, cfg)
	if errors.Is(err, member.ErrMissing) {
		tb.Skip(err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	for _, proc := range procs {
		tb.Cleanup(func() {
			if err := proc.Stop(); err != nil {
				tb.Errorf("stop etcd: %v", err)
			}
		})
		c.endpoints = append(c.endpoints, proc.Endpoint())
		alone := *c.Server
		alone.endpoints = []string{proc.Endpoint()}
		c.members = append(c.members, &Member{Server: &alone, proc: proc})
	}
	c.register()
	tb.Cleanup(c.unregister)
	if c.users != nil {
		if err := c.enableAuth(); err != nil {
			tb.Fatal(err)
		}
	}
	c.client = c.Root(tb)
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
