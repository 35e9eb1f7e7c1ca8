package etcdtest

import (
	"context"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest/member"
)

// The plain user of a server with auth, and its only role.
const (
	PlainUser = "app"
	PlainRole = "locks"
)

// The user who may do everything.
const rootUser, rootPassword = "root", "root's secret"

// shortTokens is how long a simple token lives without use where flag -auth is on.
const shortTokens = 3 * time.Second

// users are who connects to a server with auth.
type users struct {
	mu       sync.Mutex
	password string // the plain user's
}

func (u *users) plainPassword() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.password
}

// simpleTokens are etcd's flags for simple tokens, whose life is in whole seconds.
func simpleTokens(life time.Duration) []string {
	return []string{"--auth-token=simple", fmt.Sprintf("--auth-token-ttl=%d", int(life/time.Second))}
}

// withUsers prepares s and its members for auth, which enableAuth switches on.
func withUsers(s *Server, cfg *member.Config, tokens []string) {
	s.users = &users{password: "app's secret"}
	cfg.User, cfg.Password = rootUser, rootPassword
	cfg.Flags = append(append(tokens, "--bcrypt-cost=4"), cfg.Flags...)
}

// enableAuth adds the users and switches auth on.
func (s *Server) enableAuth() error {
	return s.asRoot(func(ctx context.Context, c *clientv3.Client) error {
		for _, u := range []struct{ name, password, role string }{
			{rootUser, rootPassword, "root"},
			{PlainUser, s.users.plainPassword(), PlainRole},
		} {
			if _, err := c.UserAdd(ctx, u.name, u.password); err != nil {
				return err
			}
			if _, err := c.RoleAdd(ctx, u.role); err != nil {
				return err
			}
			if _, err := c.UserGrantRole(ctx, u.name, u.role); err != nil {
				return err
			}
		}
		_, err := c.AuthEnable(ctx)
		return err
	})
}

// grant lets the plain user read and write all keys that begin with one of starts.
func (s *Server) grant(starts ...string) error {
	return s.asRoot(func(ctx context.Context, c *clientv3.Client) error {
		for _, start := range starts {
			_, err := c.RoleGrantPermission(ctx, PlainRole, start, clientv3.GetPrefixRangeEnd(start),
				clientv3.PermissionType(clientv3.PermReadWrite))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// AsRoot runs f with a client of the root user's, closed afterwards, of the server that client is connected to. Without auth
// it is anybody's.
func AsRoot(client *clientv3.Client, f func(context.Context, *clientv3.Client) error) error {
	endpoint := client.Endpoints()[0]
	if s, ok := servers.Load(endpoint); ok {
		return s.(*Server).asRoot(f)
	}
	return (&Server{endpoints: []string{endpoint}}).asRoot(f)
}

// asRoot runs f with a client of the root user's.
func (s *Server) asRoot(f func(context.Context, *clientv3.Client) error) error {
	c, err := s.dialRoot()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return f(ctx, c)
}
