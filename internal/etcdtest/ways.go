package etcdtest

import (
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"

	"github.com/phpgao/elock/internal/etcdtest/member"
	"github.com/phpgao/elock/internal/etcdtest/mode"
)

// Way is one of the ways in which programs reach etcd.
type Way struct {
	Prefix string                                // for locks, of the test's own
	Client func(testing.TB) *clientv3.Client     // a new client, closed when the test ends
	Midway func(testing.TB, ...*clientv3.Client) // what happens to clients in the middle of their work
}

// Ways are functions that start what each way needs. All that they start goes away with the test.
func Ways() map[string]func(testing.TB) *Way {
	return map[string]func(testing.TB) *Way{
		"gRPC proxy": func(tb testing.TB) *Way {
			s := Start(tb)
			return &Way{Prefix: s.Prefix(tb), Client: plainly(s.ThroughGRPCProxy(tb)), Midway: nothing}
		},
		"namespace":                    throughNamespace,
		"TLS with client certificates": func(tb testing.TB) *Way { return over(tb, StartTLS(tb).Server, nothing) },
		"AutoSyncInterval":             withAutoSync,
		"SetEndpoints":                 withSetEndpoints,
		"auth with simple tokens":      func(tb testing.TB) *Way { return withAuth(tb, AuthConfig{}) },
		"auth with JWT":                func(tb testing.TB) *Way { return withAuth(tb, AuthConfig{JWT: true}) },
	}
}

func over(tb testing.TB, s *Server, midway func(testing.TB, ...*clientv3.Client)) *Way {
	return &Way{Prefix: s.Prefix(tb), Client: plainly(s), Midway: midway}
}

func plainly(s *Server) func(testing.TB) *clientv3.Client {
	return func(tb testing.TB) *clientv3.Client { return s.Client(tb) }
}

func nothing(testing.TB, ...*clientv3.Client) {}

// throughNamespace is etcd through the wrappers of package namespace.
func throughNamespace(tb testing.TB) *Way {
	s := Start(tb)
	w := over(tb, s, nothing)
	space := "/" + w.Prefix + "-space"
	w.Client = func(tb testing.TB) *clientv3.Client {
		c := s.Client(tb)
		c.KV = namespace.NewKV(c.KV, space)
		c.Lease = namespace.NewLease(c.Lease, space)
		c.Watcher = namespace.NewWatcher(c.Watcher, space)
		return c
	}
	return w
}

// withAutoSync is a cluster whose clients know one member at first, and ask it for the others.
func withAutoSync(tb testing.TB) *Way {
	c := StartCluster(tb, 3)
	w := over(tb, c.Server, func(tb testing.TB, clients ...*clientv3.Client) {
		tb.Helper()
		deadline := time.Now().Add(30 * time.Second)
		for _, client := range clients {
			for len(client.Endpoints()) < 3 {
				if time.Now().After(deadline) {
					tb.Fatal("etcdtest: a client does not learn of all members")
				}
				time.Sleep(10 * time.Millisecond) // the period of a poll
			}
		}
	})
	w.Client = func(tb testing.TB) *clientv3.Client {
		return c.members[0].Client(tb, func(cfg *clientv3.Config) { cfg.AutoSyncInterval = 100 * time.Millisecond })
	}
	return w
}

// withSetEndpoints is a cluster whose clients leave one member for another.
func withSetEndpoints(tb testing.TB) *Way {
	c := StartCluster(tb, 3)
	w := over(tb, c.Server, func(_ testing.TB, clients ...*clientv3.Client) {
		for _, client := range clients {
			client.SetEndpoints(c.members[1].Endpoint())
		}
	})
	w.Client = func(tb testing.TB) *clientv3.Client { return c.members[0].Client(tb) }
	return w
}

// withAuth is a server with auth, and a pause in which tokens die that are not used.
func withAuth(tb testing.TB, cfg AuthConfig) *Way {
	tb.Helper()
	if mode.Version() == member.V34 {
		tb.Skip("etcd 3.4 refuses the login of a client whose token has died, for good: it looks at the dead token first")
	}
	cfg.TokenTTL = 2 * time.Second
	return over(tb, StartAuth(tb, cfg).Server, func(testing.TB, ...*clientv3.Client) {
		// etcd ends simple tokens in a loop of its own, once in a second, and nothing shows when.
		time.Sleep(cfg.TokenTTL + 2*time.Second)
	})
}
