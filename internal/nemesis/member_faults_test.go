package nemesis_test

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
)

// kill kills members and restarts them together: a majority serves only then.
func (h *hand) kill(ctx context.Context, victims ...*etcdtest.Member) {
	for _, m := range victims {
		m.Kill()
	}
	idle(ctx, h.span(0, 4*time.Second))
	var all sync.WaitGroup
	for _, m := range victims {
		all.Go(func() { m.Restart(h.t) })
	}
	all.Wait()
}

func (h *hand) pause(ctx context.Context, victims ...*etcdtest.Member) {
	for _, m := range victims {
		m.Pause(h.t)
		defer m.Resume(h.t)
	}
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.resumed = append(h.resumed, now())
	}()
	idle(ctx, h.span(100*time.Millisecond, 7*time.Second))
}

// memberSilent is a member that lives, and leads perhaps, and swallows all that clients send.
const memberSilent = "member silent"

// memberFaults strike the cluster.
var memberFaults = []fault{
	{"member killed", func(h *hand, ctx context.Context) { h.kill(ctx, h.member()) }},
	{"leader killed", func(h *hand, ctx context.Context) { h.kill(ctx, h.leader()) }},
	{"majority killed", func(h *hand, ctx context.Context) { h.kill(ctx, h.others(h.member())...) }},
	{"all members killed", func(h *hand, ctx context.Context) { h.kill(ctx, h.cluster.Members()...) }},
	{"member paused", func(h *hand, ctx context.Context) { h.pause(ctx, h.member()) }},
	{"leader paused", func(h *hand, ctx context.Context) { h.pause(ctx, h.leader()) }},
	{"leader paused", func(h *hand, ctx context.Context) { h.pause(ctx, h.leader()) }},
	{"followers paused", func(h *hand, ctx context.Context) { h.pause(ctx, h.others(h.leader())...) }},
	{"members restarted in turn", func(h *hand, ctx context.Context) {
		for _, i := range h.rng.Perm(members) {
			h.cluster.Members()[i].Restart(h.t)
			idle(ctx, h.span(0, time.Second))
		}
	}},
	{memberSilent, func(h *hand, ctx context.Context) {
		front := h.fronts[h.rng.IntN(members)]
		front.BlackHole(h.t)
		idle(ctx, h.evenSpan(time.Second, 8*time.Second))
		front.Heal(h.t)
	}},
	{"leader moved", func(h *hand, ctx context.Context) {
		leader := h.leader()
		heir := h.others(leader)[h.rng.IntN(members-1)]
		h.operate(ctx, func(ctx context.Context, c *clientv3.Client) error {
			status, err := c.Status(ctx, heir.Endpoint())
			if err == nil {
				_, err = h.direct[leader].MoveLeader(ctx, status.Header.MemberId)
			}
			return err
		})
	}},
	{"store compacted", func(h *hand, ctx context.Context) {
		h.operate(ctx, func(ctx context.Context, c *clientv3.Client) error {
			resp, err := c.Get(ctx, "/")
			if err == nil {
				_, err = c.Compact(ctx, resp.Header.Revision, clientv3.WithCompactPhysical())
			}
			return err
		})
	}},
	{"member defragmented", func(h *hand, ctx context.Context) {
		m := h.member()
		h.operate(ctx, func(ctx context.Context, c *clientv3.Client) error {
			_, err := c.Defragment(ctx, m.Endpoint())
			return err
		})
	}},
}
