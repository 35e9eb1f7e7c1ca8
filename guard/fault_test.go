package guard_test

import (
	"context"
	"slices"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A txn is a transaction that a tapped client sends.
type txn struct {
	cmps         []clientv3.Cmp
	thens, elses []clientv3.Op
}

// puts reports whether t, or one nested in it, may write the key.
func (t txn) puts(name string) bool { return putsKey(t.thens, name) || putsKey(t.elses, name) }

func putsKey(ops []clientv3.Op, name string) bool {
	return slices.ContainsFunc(ops, func(op clientv3.Op) bool {
		if op.IsTxn() {
			_, thens, elses := op.Txn()
			return putsKey(thens, name) || putsKey(elses, name)
		}
		return op.IsPut() && string(op.KeyBytes()) == name
	})
}

// deletes reports whether t may delete the key.
func (t txn) deletes(name string) bool {
	return slices.ContainsFunc(t.thens, func(op clientv3.Op) bool { return op.IsDelete() && string(op.KeyBytes()) == name })
}

// writes reports whether t may write anything.
func (t txn) writes() bool {
	return slices.ContainsFunc(slices.Concat(t.thens, t.elses), func(op clientv3.Op) bool {
		return op.IsTxn() || op.IsPut() || op.IsDelete()
	})
}

type (
	answer = *clientv3.TxnResponse
	send   = func(context.Context) (answer, error)
)

// A tap is around every transaction of a client, and sees its reads. around
// may send it, or not, and answers in its place.
type tap struct {
	around func(ctx context.Context, t txn, send send) (answer, error)

	mu   sync.Mutex
	txns []txn // all that were sent
	gets int
}

// tapped returns a client like client, with f in its way.
func tapped(client *clientv3.Client, f *tap) *clientv3.Client {
	c := clientv3.NewCtxClient(client.Ctx())
	c.KV, c.Lease, c.Watcher = tappedKV{client.KV, f}, client.Lease, client.Watcher
	return c
}

// reset forgets what was counted.
func (f *tap) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.txns, f.gets = nil, 0
}

func (f *tap) sent() (txns []txn, gets int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.txns), f.gets
}

type tappedKV struct {
	clientv3.KV
	f *tap
}

func (kv tappedKV) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	kv.f.mu.Lock()
	kv.f.gets++
	kv.f.mu.Unlock()
	return kv.KV.Get(ctx, key, opts...)
}

func (kv tappedKV) Txn(ctx context.Context) clientv3.Txn { return &tappedTxn{kv: kv, ctx: ctx} }

type tappedTxn struct {
	kv  tappedKV
	ctx context.Context
	txn
}

func (t *tappedTxn) If(cs ...clientv3.Cmp) clientv3.Txn { t.cmps = cs; return t }

func (t *tappedTxn) Then(ops ...clientv3.Op) clientv3.Txn { t.thens = ops; return t }

func (t *tappedTxn) Else(ops ...clientv3.Op) clientv3.Txn { t.elses = ops; return t }

func (t *tappedTxn) Commit() (*clientv3.TxnResponse, error) {
	f := t.kv.f
	f.mu.Lock()
	f.txns = append(f.txns, t.txn)
	f.mu.Unlock()
	send := func(ctx context.Context) (answer, error) {
		return t.kv.KV.Txn(ctx).If(t.cmps...).Then(t.thens...).Else(t.elses...).Commit()
	}
	if f.around == nil {
		return send(t.ctx)
	}
	return f.around(t.ctx, t.txn, send)
}
