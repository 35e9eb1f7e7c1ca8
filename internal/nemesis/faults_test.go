package nemesis_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
)

// A hand causes faults of one sort, one after the other. Several hands at once make the worst days.
type hand struct {
	*world
	rng  *rand.Rand
	deck []fault // to come
	all  []fault

	lasting bool // its faults disturb more than the locks they strike
}

// A fault does harm, for some time or until ctx is done, and makes it good.
type fault struct {
	name   string
	strike func(h *hand, ctx context.Context)
}

// torment causes faults until ctx is done, each as often as the others.
func (h *hand) torment(ctx context.Context) {
	for ctx.Err() == nil {
		if len(h.deck) == 0 {
			h.deck = append(h.deck, h.all...)
			h.rng.Shuffle(len(h.deck), func(i, j int) { h.deck[i], h.deck[j] = h.deck[j], h.deck[i] })
		}
		f := h.deck[0]
		h.deck = h.deck[1:]
		from := now()
		f.strike(h, ctx)
		h.happened(window{f.name, from, now()}, h.lasting)
		idle(ctx, h.span(0, 2*time.Second))
	}
}

// span draws a duration, more often a short one.
func (h *hand) span(min, max time.Duration) time.Duration {
	f := h.rng.Float64()
	return min + time.Duration(float64(max-min)*f*f)
}

// evenSpan draws a duration; every one is as likely.
func (h *hand) evenSpan(min, max time.Duration) time.Duration {
	return min + time.Duration(float64(max-min)*h.rng.Float64())
}

func (h *hand) member() *etcdtest.Member { return h.cluster.Members()[h.rng.IntN(members)] }

func (h *hand) leader() *etcdtest.Member { return h.cluster.Leader(h.t) }

// others are the members without m.
func (h *hand) others(m *etcdtest.Member) []*etcdtest.Member {
	var all []*etcdtest.Member
	for _, x := range h.cluster.Members() {
		if x != m {
			all = append(all, x)
		}
	}
	return all
}

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

// seat is any, or one whose client seems to hold a lock.
func (h *hand) seat() *seat {
	any, key, holder := h.seats[h.rng.IntN(len(h.seats))], h.rng.IntN(keys), h.rng.IntN(3) > 0
	if holder {
		id := h.store.last(key)
		for _, s := range h.seats {
			if s.id == id {
				return s
			}
		}
	}
	return any
}

// network makes the network of one client bad: to all members, or to one.
func (h *hand) network(ctx context.Context, worsen func(*etcdtest.Proxied)) {
	proxies := h.seat().proxies
	if h.rng.IntN(3) == 0 {
		one := h.rng.IntN(members)
		proxies = proxies[one : one+1]
	}
	for _, p := range proxies {
		worsen(p)
		defer p.Heal(h.t)
	}
	idle(ctx, h.evenSpan(100*time.Millisecond, 8*time.Second))
}

// clientFaults strike clients and their connections.
var clientFaults = []fault{
	{"client killed", func(h *hand, ctx context.Context) { h.killClients(ctx, h.seat()) }},
	{"all clients killed", func(h *hand, ctx context.Context) { h.killClients(ctx, h.seats...) }},
	{"client ended", func(h *hand, ctx context.Context) {
		s := h.seat()
		s.finish()
		s.launch()
	}},
	{"client paused", func(h *hand, ctx context.Context) { h.pauseClients(ctx, h.seat()) }},
	{"client paused", func(h *hand, ctx context.Context) { h.pauseClients(ctx, h.seat()) }},
	{"all clients paused", func(h *hand, ctx context.Context) { h.pauseClients(ctx, h.seats...) }},
	{"connections cut", func(h *hand, ctx context.Context) {
		h.network(ctx, func(p *etcdtest.Proxied) { p.Cut(h.t) })
	}},
	{"connections silent", func(h *hand, ctx context.Context) {
		h.network(ctx, func(p *etcdtest.Proxied) { p.BlackHole(h.t) })
	}},
	{"connections slow", func(h *hand, ctx context.Context) {
		delay := h.span(time.Millisecond, 500*time.Millisecond)
		h.network(ctx, func(p *etcdtest.Proxied) { p.Delay(h.t, delay, delay/2) })
	}},
	{"connections flapping", func(h *hand, ctx context.Context) {
		s := h.seat()
		for range 1 + h.rng.IntN(5) {
			for _, p := range s.proxies {
				p.Cut(h.t)
				p.Heal(h.t)
			}
			idle(ctx, h.span(0, time.Second))
		}
	}},
}

func (h *hand) killClients(ctx context.Context, victims ...*seat) {
	for _, s := range victims {
		s.kill()
	}
	idle(ctx, h.span(0, 5*time.Second))
	for _, s := range victims {
		s.launch()
	}
}

// pauseClients stops clients, at times for longer than any lease lives.
func (h *hand) pauseClients(ctx context.Context, victims ...*seat) {
	for _, s := range victims {
		if err := s.proc.Pause(); err != nil {
			h.t.Error(err)
		}
	}
	idle(ctx, h.evenSpan(100*time.Millisecond, 9*time.Second))
	for _, s := range victims {
		if err := s.proc.Resume(); err != nil {
			h.t.Error(err)
		}
	}
}

// operatorFaults take locks away.
var operatorFaults = []fault{
	{deleted, func(h *hand, ctx context.Context) {
		n := h.rng.Uint32()
		h.operate(ctx, func(ctx context.Context, c *clientv3.Client) error {
			resp, err := c.Get(ctx, "/"+prefix, clientv3.WithPrefix())
			if err != nil || len(resp.Kvs) == 0 {
				return err
			}
			kv := resp.Kvs[int(n)%len(resp.Kvs)]
			return h.take(act{name: deleted, entries: entriesOf(kv)}, func() error {
				_, err := c.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(string(kv.Key)), "=", kv.CreateRevision)).
					Then(clientv3.OpDelete(string(kv.Key))).Commit()
				return err
			})
		})
	}},
	{evicted, func(h *hand, ctx context.Context) {
		key := h.rng.IntN(keys)
		h.operate(ctx, func(ctx context.Context, c *clientv3.Client) error {
			resp, err := c.Get(ctx, lockOf(key).Path(prefix), clientv3.WithFirstCreate()...)
			if err != nil || len(resp.Kvs) == 0 {
				return err
			}
			return h.take(act{name: evicted, entries: entriesOf(resp.Kvs...)}, func() error { return evict(ctx, c, resp.Kvs[0]) })
		})
	}},
	{revoked, func(h *hand, ctx context.Context) {
		n := h.rng.Uint32()
		h.operate(ctx, func(ctx context.Context, c *clientv3.Client) error {
			resp, err := c.Leases(ctx)
			if err != nil || len(resp.Leases) == 0 {
				return err
			}
			lease := resp.Leases[int(n)%len(resp.Leases)].ID
			under, err := c.TimeToLive(ctx, lease, clientv3.WithAttachedKeys())
			if err != nil {
				return err
			}
			a := act{name: revoked, lease: int64(lease)}
			for _, name := range under.Keys {
				resp, err := c.Get(ctx, string(name))
				if err != nil {
					return err
				}
				a.entries = append(a.entries, entriesOf(resp.Kvs...)...)
			}
			return h.take(a, func() error {
				_, err := c.Revoke(ctx, lease)
				return err
			})
		})
	}},
}

// evict does what Locker.Evict does, to the holder that was found: Evict itself takes whoever holds when it comes.
func evict(ctx context.Context, c *clientv3.Client, holder *mvccpb.KeyValue) error {
	var record map[string]any
	if err := json.Unmarshal(holder.Value, &record); err != nil {
		return err
	}
	record["evicted"] = true
	mark, err := json.Marshal(record)
	if err != nil {
		return err
	}
	name := string(holder.Key)
	same := clientv3.Compare(clientv3.CreateRevision(name), "=", holder.CreateRevision)
	for _, op := range []clientv3.Op{clientv3.OpPut(name, string(mark), clientv3.WithIgnoreLease()), clientv3.OpDelete(name)} {
		if _, err := c.Txn(ctx).If(same).Then(op).Commit(); err != nil {
			return err
		}
	}
	return nil
}

// entriesOf are the entries that keys in etcd stand for.
func entriesOf(kvs ...*mvccpb.KeyValue) (all []entry) {
	for _, kv := range kvs {
		for key := range keys {
			if strings.HasPrefix(string(kv.Key), lockOf(key).Path(prefix)) {
				all = append(all, entry{key, kv.CreateRevision})
			}
		}
	}
	return all
}

// take does what a says. When it fails it may yet be done.
func (h *hand) take(a act, f func() error) error {
	a.from = now()
	err := f()
	a.to = now()
	if err != nil {
		a.to += int64(30 * time.Second)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.acts = append(h.acts, a)
	return err
}

// operate does something in etcd, which may fail: other hands are at work.
func (h *hand) operate(ctx context.Context, f func(context.Context, *clientv3.Client) error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := f(ctx, h.operator); err != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.vain++
	}
}
