package work

import (
	"context"
	"os"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/phpgao/elock/internal/etcdtest"
)

// A Site is an etcd to work on. It counts what is sent to it.
type Site struct {
	dial      func(tb testing.TB, edits ...func(*clientv3.Config)) *clientv3.Client
	endpoints []string
	prefix    string           // one segment
	etcd      *etcdtest.Member // its only member; nil if others have started it, or it has several
	sent      meter
	warned    warned // by Lockers
}

// fsync makes the members of tests wait for the disk, as they do everywhere else.
const fsync = "--unsafe-no-fsync=false"

// Alone is the etcd that ELOCK_TEST_ENDPOINTS names, or a new one of one member that goes away with tb. A new etcd for each
// benchmark makes its figures the same whether or not others ran before.
func Alone(tb testing.TB) *Site {
	tb.Helper()
	if os.Getenv("ELOCK_TEST_ENDPOINTS") != "" {
		return Shared(tb)
	}
	etcd := etcdtest.StartOwn(tb, fsync)
	s := site(tb, etcd.Server)
	s.etcd = etcd
	return s
}

// Shared is the etcd that tests share. It need not wait for the disk: it is for tests of this package.
func Shared(tb testing.TB) *Site {
	tb.Helper()
	return site(tb, etcdtest.Start(tb))
}

// Cluster is a new etcd of several members, which goes away with tb. Clients know all of them.
func Cluster(tb testing.TB, members int) *Site {
	tb.Helper()
	c := etcdtest.StartCluster(tb, members, fsync)
	c.Leader(tb)
	return site(tb, c.Server)
}

// ClusterApart is Cluster with a network that makes each round trip between members longer by rtt.
func ClusterApart(tb testing.TB, members int, rtt time.Duration) *Site {
	tb.Helper()
	c := etcdtest.StartClusterApart(tb, members, rtt, fsync)
	c.Leader(tb)
	return site(tb, c.Server)
}

// Far is Alone behind a network that makes each round trip longer by rtt, an even number of milliseconds.
func Far(tb testing.TB, rtt time.Duration) *Site {
	tb.Helper()
	var server *etcdtest.Server
	if os.Getenv("ELOCK_TEST_ENDPOINTS") != "" {
		server = etcdtest.Start(tb)
	} else {
		server = etcdtest.StartOwn(tb, fsync).Server
	}
	p := etcdtest.Proxy(tb, server.Endpoints()[0])
	p.Delay(tb, rtt/2, 0)
	return &Site{dial: p.Client, endpoints: []string{p.Endpoint()}, prefix: server.Prefix(tb)}
}

func site(tb testing.TB, s *etcdtest.Server) *Site {
	tb.Helper()
	return &Site{dial: s.Client, endpoints: s.Endpoints(), prefix: s.Prefix(tb)}
}

// apart is the same etcd, with a count of its own.
func (s *Site) apart() *Site {
	return &Site{dial: s.dial, endpoints: s.endpoints, prefix: s.prefix, etcd: s.etcd}
}

// client returns a new client whose requests are counted, closed when tb ends.
func (s *Site) client(tb testing.TB) *clientv3.Client {
	tb.Helper()
	return s.dial(tb, func(c *clientv3.Config) {
		c.DialOptions = append(c.DialOptions, grpc.WithStatsHandler(&s.sent))
	})
}

// count returns how many messages were sent. Of no site it is 0.
func (s *Site) count() int64 {
	if s == nil {
		return 0
	}
	return s.sent.n.Load()
}

// A meter counts the messages that clients send: requests, and what goes into the streams of watches and keep-alives.
type meter struct{ n atomic.Int64 }

func (m *meter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (m *meter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (m *meter) HandleConn(context.Context, stats.ConnStats)                       {}

func (m *meter) HandleRPC(_ context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.OutPayload); ok {
		m.n.Add(1)
	}
}
