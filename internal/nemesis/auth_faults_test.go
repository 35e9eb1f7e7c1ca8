package nemesis_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
)

// Faults that explain what etcd refuses.
const (
	roleRevoked     = "role revoked for a while"
	authOff         = "auth off for a while"
	otherPassword   = "another password for a while"
	passwordChanged = "password changed"
)

// authFaults take from all clients what they may do, and give it back.
var authFaults = []fault{
	{roleRevoked, func(h *hand, ctx context.Context) {
		h.insist("revoke the role's permission", revokePermission)
		idle(ctx, h.evenSpan(100*time.Millisecond, 6*time.Second))
		h.insist("grant the role's permission", grantPermission)
	}},
	{otherPassword, func(h *hand, ctx context.Context) {
		h.passwords.Lock()
		defer h.passwords.Unlock()
		h.insist("change the password", setPassword("nobody knows it"))
		idle(ctx, h.evenSpan(100*time.Millisecond, 6*time.Second))
		h.insist("change the password back", setPassword(h.password))
	}},
	{authOff, func(h *hand, ctx context.Context) {
		h.insist("switch auth off", func(ctx context.Context, c *clientv3.Client) error {
			_, err := c.AuthDisable(ctx)
			return err
		})
		idle(ctx, h.evenSpan(100*time.Millisecond, 4*time.Second))
		h.insist("switch auth on", enableAuth)
	}},
}

// passwordFaults change the password for good: all clients are restarted with the new one, after a while.
var passwordFaults = []fault{
	{passwordChanged, func(h *hand, ctx context.Context) {
		h.passwords.Lock()
		defer h.passwords.Unlock()
		next := fmt.Sprintf("secret %d", h.rng.Uint32())
		h.insist("change the password", setPassword(next))
		h.mu.Lock()
		h.password = next
		h.mu.Unlock()
		idle(ctx, h.span(0, 4*time.Second))
		var all sync.WaitGroup
		for _, s := range h.seats {
			all.Go(func() {
				s.finish()
				s.launch()
			})
		}
		all.Wait()
	}},
}

func setPassword(password string) func(context.Context, *clientv3.Client) error {
	return func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.UserChangePassword(ctx, etcdtest.PlainUser, password)
		return err
	}
}

// allowed are the keys that the README's permission is about.
const allowed = "/" + prefix + "/"

func revokePermission(ctx context.Context, c *clientv3.Client) error {
	_, err := c.RoleRevokePermission(ctx, etcdtest.PlainRole, allowed, clientv3.GetPrefixRangeEnd(allowed))
	if errors.Is(err, rpctypes.ErrPermissionNotGranted) {
		return nil
	}
	return err
}

func grantPermission(ctx context.Context, c *clientv3.Client) error {
	_, err := c.RoleGrantPermission(ctx, etcdtest.PlainRole, allowed, clientv3.GetPrefixRangeEnd(allowed),
		clientv3.PermissionType(clientv3.PermReadWrite))
	return err
}

func enableAuth(ctx context.Context, c *clientv3.Client) error {
	_, err := c.AuthEnable(ctx)
	return err
}
