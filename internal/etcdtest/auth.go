package etcdtest

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest/mode"
)

// AuthConfig says how an etcd with auth is run. The zero AuthConfig is one member with simple tokens of three seconds.
type AuthConfig struct {
	Members  int
	TokenTTL time.Duration // whole seconds; the life of a simple token begins anew with each use, that of a JWT does not
	JWT      bool          // instead of simple tokens
	Flags    []string      // more of etcd's flags
}

// AuthServer is an etcd with auth, of one test's own. Its Client is a plain user's, who may read and write under the
// prefixes that Prefix returned or Grant named, and nothing else; its Root may do everything.
type AuthServer struct {
	*Cluster
}

// StartAuth launches an etcd with auth that goes away with the test.
func StartAuth(tb testing.TB, cfg AuthConfig) *AuthServer {
	tb.Helper()
	if cfg.TokenTTL == 0 {
		cfg.TokenTTL = shortTokens
	}
	tokens := simpleTokens(cfg.TokenTTL)
	if cfg.JWT {
		tokens = jwtTokens(tb, cfg.TokenTTL)
	}
	return &AuthServer{launch(tb, setup{
		version: mode.Version(), members: max(cfg.Members, 1), flags: cfg.Flags, tokens: tokens,
	})}
}

// Grant lets the plain user read and write under a prefix for locks, as the README asks for.
func (s *AuthServer) Grant(tb testing.TB, prefix string) {
	tb.Helper()
	if err := s.grant("/" + prefix + "/"); err != nil {
		tb.Fatal(err)
	}
}

// Revoke takes back what Grant, or Prefix, gave.
func (s *AuthServer) Revoke(tb testing.TB, prefix string) {
	tb.Helper()
	s.change(tb, func(ctx context.Context, c *clientv3.Client) error {
		start := "/" + prefix + "/"
		_, err := c.RoleRevokePermission(ctx, PlainRole, start, clientv3.GetPrefixRangeEnd(start))
		return err
	})
}

// SetPassword changes the plain user's password, which Client uses from now on. Clients that exist keep the one before.
func (s *AuthServer) SetPassword(tb testing.TB, password string) {
	tb.Helper()
	s.change(tb, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.UserChangePassword(ctx, PlainUser, password)
		return err
	})
	s.users.mu.Lock()
	defer s.users.mu.Unlock()
	s.users.password = password
}

// Disable switches auth off: everybody may do everything.
func (s *AuthServer) Disable(tb testing.TB) {
	tb.Helper()
	s.change(tb, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.AuthDisable(ctx)
		return err
	})
}

// Enable switches auth on again.
func (s *AuthServer) Enable(tb testing.TB) {
	tb.Helper()
	s.change(tb, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.AuthEnable(ctx)
		return err
	})
}

func (s *AuthServer) change(tb testing.TB, f func(context.Context, *clientv3.Client) error) {
	tb.Helper()
	if err := s.asRoot(f); err != nil {
		tb.Fatal(err)
	}
}

// Logins is how many logins all members have answered since each was started: of every user, also this package's own.
// Compare two counts.
func (s *AuthServer) Logins(tb testing.TB) int {
	tb.Helper()
	n := 0
	for _, m := range s.members {
		metrics, err := m.proc.Get(tb.Context(), "/metrics")
		if err != nil {
			tb.Fatal(err)
		}
		for _, count := range logins.FindAllSubmatch(metrics, -1) {
			one, err := strconv.ParseFloat(string(count[1]), 64)
			if err != nil {
				tb.Fatal(fmt.Errorf("etcdtest: metric of logins: %w", err))
			}
			n += int(one)
		}
	}
	return n
}

var logins = regexp.MustCompile(`(?m)^grpc_server_handled_total\{[^}]*grpc_method="Authenticate"[^}]*\} (\S+)$`)
