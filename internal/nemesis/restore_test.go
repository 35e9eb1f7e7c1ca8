package nemesis_test

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
)

// restore sees to it that all is as it was before the faults. A member that goes on may carry out late what was given up and
// done again, or raise an alarm that was cleared. Where it does, the fault went on until now.
func (w *world) restore() {
	w.check(quotaFilled, func(ctx context.Context, c *clientv3.Client) (bool, error) {
		resp, err := c.AlarmList(ctx)
		return err == nil && len(resp.Alarms) == 0, err
	}, w.makeSpace)
	if w.tokens != "" {
		w.check(authOff, func(ctx context.Context, c *clientv3.Client) (bool, error) {
			status, err := c.AuthStatus(ctx)
			return err == nil && status.Enabled, err
		}, enableAuth)
		w.check(roleRevoked, func(ctx context.Context, c *clientv3.Client) (bool, error) {
			role, err := c.RoleGet(ctx, etcdtest.PlainRole)
			return err == nil && len(role.Perm) == 1, err
		}, grantPermission)
		w.check(otherPassword, func(ctx context.Context, c *clientv3.Client) (bool, error) {
			_, err := c.Authenticate(ctx, etcdtest.PlainUser, w.password)
			if errors.Is(err, rpctypes.ErrAuthFailed) {
				return false, nil
			}
			return err == nil, err
		}, setPassword(w.password))
	}
	w.restored = now()
}

// check mends what a fault has left behind.
func (w *world) check(fault string, well func(context.Context, *clientv3.Client) (bool, error), mend func(context.Context, *clientv3.Client) error) {
	late := false
	w.insist("after "+fault, func(ctx context.Context, c *clientv3.Client) error {
		ok, err := well(ctx, c)
		if ok || err != nil {
			return err
		}
		late = true
		return mend(ctx, c)
	})
	if late {
		w.happened(window{fault, w.restored, now()}, true)
	}
}
