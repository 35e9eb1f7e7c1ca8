package etcdtest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/phpgao/elock/internal/etcdtest/member"
)

// Join adds a member to the cluster, which goes away with the test, before anything that the test made earlier. The Server's
// clients from now on know it, too.
func (c *Cluster) Join(tb testing.TB) *Member { return c.join(tb, false) }

// JoinLearner is Join for a learner: a member that has no vote, and refuses nearly all calls.
func (c *Cluster) JoinLearner(tb testing.TB) *Member { return c.join(tb, true) }

func (c *Cluster) join(tb testing.TB, learner bool) *Member {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), restartTimeout)
	defer cancel()
	var others []*member.Member
	for _, m := range c.members {
		others = append(others, m.proc)
	}
	proc, err := member.Join(ctx, others, learner, func(peer string) error {
		return c.reconfigure(ctx, func() (err error) {
			if learner {
				_, err = c.client.MemberAddAsLearner(ctx, []string{peer})
			} else {
				_, err = c.client.MemberAdd(ctx, []string{peer})
			}
			return err
		})
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := proc.Stop(); err != nil {
			tb.Errorf("stop etcd: %v", err)
		}
	})
	alone := *c.Server
	alone.endpoints = []string{proc.Endpoint()}
	m := &Member{Server: &alone, proc: proc}
	c.members = append(c.members, m)
	c.endpoints = append(slices.Clone(c.endpoints), proc.Endpoint())
	if !learner {
		c.client.SetEndpoints(c.endpoints...)
	}
	return m
}

// Remove takes a member out of the cluster for good, and ends it.
func (c *Cluster) Remove(tb testing.TB, m *Member) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), restartTimeout)
	defer cancel()
	status, err := c.client.Status(ctx, m.Endpoint())
	if err != nil {
		tb.Fatal(err)
	}
	c.members = slices.DeleteFunc(slices.Clone(c.members), func(o *Member) bool { return o == m })
	c.endpoints = slices.DeleteFunc(slices.Clone(c.endpoints), func(e string) bool { return e == m.Endpoint() })
	c.client.SetEndpoints(c.endpoints...)
	err = c.reconfigure(ctx, func() error {
		_, err := c.client.MemberRemove(ctx, status.Header.MemberId)
		if errors.Is(err, rpctypes.ErrMemberNotFound) { // an earlier try was carried out
			return nil
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	m.Kill()
}

// reconfigure calls f until etcd does not take its members for unhealthy any more: it wants to see them connected for seconds.
func (c *Cluster) reconfigure(ctx context.Context, f func() error) error {
	tick := time.NewTicker(100 * time.Millisecond) // the period of a poll
	defer tick.Stop()
	for {
		err := f()
		if err == nil || ctx.Err() != nil || !(errors.Is(err, rpctypes.ErrUnhealthy) || errors.Is(err, rpctypes.ErrMemberNotEnoughStarted)) {
			return err
		}
		<-tick.C
	}
}
