package etcdtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"

	"github.com/phpgao/elock/internal/etcdtest/member"
	"github.com/phpgao/elock/internal/etcdtest/mode"
)

// shared is the server that Start returns, started by the first test that asks for it.
var shared struct {
	sync.Mutex
	server *Server
	member *member.Member // nil where ELOCK_TEST_ENDPOINTS names the server
	proxy  *gatekeeper    // nil without a gRPC proxy
	err    error
}

// Start returns the etcd that all tests of the package share, starting it if need be: one member, or what the environment
// variable ELOCK_TEST_ENDPOINTS names (host:port, separated by commas). Tests must not stop it, and keep to a Prefix.
func Start(tb testing.TB) *Server {
	tb.Helper()
	s, err := sharedServer()
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// Dial returns a new client of what Start returns, for examples, which have no testing.TB. All that it reads and writes is in
// a namespace of its own. The caller closes it.
func Dial() (*clientv3.Client, error) {
	s, err := sharedServer()
	if err != nil {
		return nil, err
	}
	client, err := s.dial()
	if err != nil {
		return nil, err
	}
	space := fmt.Sprintf("example-%08x", rand.Uint32())
	if s.users != nil {
		if err := s.grant(space); err != nil {
			client.Close()
			return nil, err
		}
	}
	client.KV = namespace.NewKV(client.KV, space)
	client.Lease = namespace.NewLease(client.Lease, space)
	client.Watcher = namespace.NewWatcher(client.Watcher, space)
	return client, nil
}

func sharedServer() (*Server, error) {
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = startShared()
	}
	return shared.server, shared.err
}

// startShared starts what the mode asks for. What it started before an error is stopped by stopShared.
func startShared() (*Server, error) {
	if list := os.Getenv("ELOCK_TEST_ENDPOINTS"); list != "" {
		s := &Server{endpoints: strings.Split(list, ",")}
		if err := s.ping(); err != nil {
			return nil, fmt.Errorf("etcdtest: ELOCK_TEST_ENDPOINTS=%s: %w", list, err)
		}
		return s, nil
	}
	ctx := context.Background()
	cfg := member.Config{Version: mode.Version()}
	s := &Server{}
	if mode.Auth() {
		withUsers(s, &cfg, simpleTokens(shortTokens))
	}
	var err error
	if shared.member, err = member.Launch(ctx, cfg); err != nil {
		return nil, err
	}
	s.endpoints = []string{shared.member.Endpoint()}
	if s.users != nil {
		if err := s.enableAuth(); err != nil {
			return nil, err
		}
	}
	if mode.GRPCProxy() {
		if shared.proxy, err = startGatekeeper(ctx, mode.Version(), s.endpoints); err != nil {
			return nil, err
		}
		s.direct, s.endpoints = s.endpoints, []string{shared.proxy.endpoint}
	}
	s.register()
	return s, nil
}

func (s *Server) ping() error {
	client, err := s.dial()
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = client.Get(ctx, "elock")
	return err
}

func stopShared() error {
	shared.Lock()
	defer shared.Unlock()
	if shared.proxy != nil {
		shared.proxy.stop()
	}
	if shared.member == nil {
		return nil
	}
	return shared.member.Stop()
}
