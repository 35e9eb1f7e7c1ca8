// Package etcdtest gives tests a real etcd: one member shared by a package's tests, a member or a cluster of a test's own
// that may be killed and paused, and a proxy that cuts, delays and swallows what a client sends. It can be of an older
// version, with auth, with TLS, and behind etcd's own proxy: see package mode for the flags that choose.
package etcdtest

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Server is an etcd to test against.
type Server struct {
	endpoints []string
	direct    []string // the members themselves, where endpoints are a proxy
	own       bool     // goes away with the test, with all its keys
	tls       *tls.Config
	users     *users // nil without auth
}

// Endpoints are the addresses of all members, host:port.
func (s *Server) Endpoints() []string { return s.endpoints }

// Client returns a new client of all members, closed when the test ends. With auth it is the plain user's. Each edit may
// change its configuration.
func (s *Server) Client(tb testing.TB, edits ...func(*clientv3.Config)) *clientv3.Client {
	tb.Helper()
	client, err := s.dial(edits...)
	return closing(tb, client, err)
}

// Root is Client for what only an administrator may do: with auth it is the root user's. It uses no proxy.
func (s *Server) Root(tb testing.TB, edits ...func(*clientv3.Config)) *clientv3.Client {
	tb.Helper()
	client, err := s.dialRoot(edits...)
	return closing(tb, client, err)
}

func closing(tb testing.TB, client *clientv3.Client, err error) *clientv3.Client {
	tb.Helper()
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

func (s *Server) dial(edits ...func(*clientv3.Config)) (*clientv3.Client, error) {
	cfg := s.config(s.endpoints)
	if s.users != nil {
		cfg.Username, cfg.Password = PlainUser, s.users.plainPassword()
	}
	return connect(cfg, edits)
}

func (s *Server) dialRoot(edits ...func(*clientv3.Config)) (*clientv3.Client, error) {
	endpoints := s.endpoints
	if len(s.direct) > 0 {
		endpoints = s.direct
	}
	cfg := s.config(endpoints)
	if s.users != nil {
		cfg.Username, cfg.Password = rootUser, rootPassword
	}
	return connect(cfg, edits)
}

func (s *Server) config(endpoints []string) clientv3.Config {
	return clientv3.Config{
		Endpoints:   endpoints,
		DialTimeout: 5 * time.Second,
		Logger:      zap.NewNop(), // lost connections are what many tests are about
		TLS:         s.tls,
	}
}

func connect(cfg clientv3.Config, edits []func(*clientv3.Config)) (*clientv3.Client, error) {
	for _, edit := range edits {
		edit(&cfg)
	}
	return clientv3.New(cfg)
}

// servers are those that run, by endpoint: a proxy before an endpoint connects as its server's clients do.
var servers sync.Map

func (s *Server) register() {
	for _, endpoint := range s.endpoints {
		servers.Store(endpoint, s)
	}
}

func (s *Server) unregister() {
	for _, endpoint := range s.endpoints {
		servers.Delete(endpoint)
	}
}

// behind is a server like the one at upstream, reached through endpoint.
func behind(endpoint, upstream string) *Server {
	s := &Server{endpoints: []string{endpoint}}
	if known, ok := servers.Load(upstream); ok {
		s.tls, s.users = known.(*Server).tls, known.(*Server).users
	}
	return s
}
