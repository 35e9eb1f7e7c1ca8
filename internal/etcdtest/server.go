// Package etcdtest gives tests a real etcd: one member shared by a package's tests, a member or a cluster of a test's own
// that may be killed and paused, and a proxy that cuts, delays and swallows what a client sends.
package etcdtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.uber.org/zap"

	"github.com/phpgao/elock/internal/etcdtest/member"
)

// Server is an etcd to test against.
type Server struct {
	endpoints []string
	own       bool // goes away with the test, with all its keys
}

// Endpoints are the addresses of all members, host:port.
func (s *Server) Endpoints() []string { return s.endpoints }

// Client returns a new client of all members, closed when the test ends. Each edit may change its configuration.
func (s *Server) Client(tb testing.TB, edits ...func(*clientv3.Config)) *clientv3.Client {
	tb.Helper()
	return newClient(tb, s.endpoints, edits...)
}

func newClient(tb testing.TB, endpoints []string, edits ...func(*clientv3.Config)) *clientv3.Client {
	tb.Helper()
	client, err := dial(endpoints, edits...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		// A test may close its client itself: the second close says that it was cancelled.
		if err := client.Close(); err != nil && !errors.Is(err, context.Canceled) {
			tb.Errorf("close etcd client: %v", err)
		}
	})
	return client
}

func dial(endpoints []string, edits ...func(*clientv3.Config)) (*clientv3.Client, error) {
	cfg := clientv3.Config{
		Endpoints:   endpoints,
		DialTimeout: 5 * time.Second,
		Logger:      zap.NewNop(), // lost connections are what many tests are about
	}
	for _, edit := range edits {
		edit(&cfg)
	}
	return clientv3.New(cfg)
}

// shared is the server that Start returns, started by the first test that asks for it.
var shared struct {
	sync.Mutex
	server *Server
	member *member.Member // nil where ELOCK_TEST_ENDPOINTS names the server
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
	client, err := dial(s.endpoints)
	if err != nil {
		return nil, err
	}
	space := fmt.Sprintf("example-%08x", rand.Uint32())
	client.KV = namespace.NewKV(client.KV, space)
	client.Lease = namespace.NewLease(client.Lease, space)
	client.Watcher = namespace.NewWatcher(client.Watcher, space)
	return client, nil
}

func sharedServer() (*Server, error) {
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil && shared.err == nil {
		shared.server, shared.member, shared.err = startShared()
	}
	return shared.server, shared.err
}

func startShared() (*Server, *member.Member, error) {
	if list := os.Getenv("ELOCK_TEST_ENDPOINTS"); list != "" {
		s := &Server{endpoints: strings.Split(list, ",")}
		if err := s.ping(); err != nil {
			return nil, nil, fmt.Errorf("etcdtest: ELOCK_TEST_ENDPOINTS=%s: %w", list, err)
		}
		return s, nil, nil
	}
	m, err := member.Launch(context.Background(), member.Config{})
	if err != nil {
		return nil, nil, err
	}
	return &Server{endpoints: []string{m.Endpoint()}}, m, nil
}

func (s *Server) ping() error {
	client, err := dial(s.endpoints)
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
	if shared.member == nil {
		return nil
	}
	return shared.member.Stop()
}
