package nemesis_test

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// operatorFaults take locks away.
var operatorFaults = []fault{
	{deleted, func(h *hand, ctx context.Context) {
		n := h.rng.Uint32()
		h.operate(ctx, func(ctx context.Context, c *clientv3.Client) error {
			resp, err := c.Get(ctx, locks, clientv3.WithPrefix())
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
		key := h.rng.IntN(keys + 1) // perhaps the leader
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
		for key := range keys + 1 { // that of the election too
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
