package work

import (
	"context"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// PutDelete locks nothing: it writes and deletes a key, one after the other. No lock that goes to etcd for each turn, and
// does not share its commits, can be faster.
func PutDelete(name string) Impl {
	return Impl{name, func(tb testing.TB, s *Site) Process {
		tb.Helper()
		client := s.client(tb)
		return func() Worker {
			return func(key int) Lock { return &putDelete{client.KV, s.path(name, key)} }
		}
	}}
}

// TxnTxn is PutDelete in transactions that compare the key's create revision, so that no write hits what somebody else
// has made of the key. No lock that does without stale unlocks can be faster.
func TxnTxn(name string) Impl {
	return Impl{name, func(tb testing.TB, s *Site) Process {
		tb.Helper()
		client := s.client(tb)
		return func() Worker {
			return func(key int) Lock { return &txnTxn{kv: client.KV, key: s.path(name, key)} }
		}
	}}
}

// Local is a sync.Mutex for each key, in all processes at once: the lock that needs no etcd.
func Local(name string) Impl {
	var mutexes keyed[sync.Mutex]
	return Impl{name, func(testing.TB, *Site) Process {
		return func() Worker {
			return func(key int) Lock { return (*localLock)(mutexes.get(key)) }
		}
	}}
}

type putDelete struct {
	kv  clientv3.KV
	key string
}

func (p *putDelete) Lock(ctx context.Context) error {
	_, err := p.kv.Put(ctx, p.key, "value")
	return err
}

func (p *putDelete) Unlock(ctx context.Context) error {
	_, err := p.kv.Delete(ctx, p.key)
	return err
}

// TryLock only looks: nobody learns with less that a lock is held.
func (p *putDelete) TryLock(ctx context.Context) error {
	resp, err := p.kv.Get(ctx, p.key)
	if err == nil && resp.Count > 0 {
		return errHeld
	}
	return err
}

type txnTxn struct {
	kv  clientv3.KV
	key string
	rev int64
}

func (t *txnTxn) Lock(ctx context.Context) error {
	return t.commit(ctx, 0, clientv3.OpPut(t.key, "value"))
}

func (t *txnTxn) Unlock(ctx context.Context) error {
	return t.commit(ctx, t.rev, clientv3.OpDelete(t.key))
}

func (t *txnTxn) commit(ctx context.Context, rev int64, op clientv3.Op) error {
	resp, err := t.kv.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(t.key), "=", rev)).Then(op).Commit()
	switch {
	case err != nil:
		return err
	case !resp.Succeeded:
		return errHeld
	}
	t.rev = resp.Header.Revision
	return nil
}

type localLock sync.Mutex

func (l *localLock) Lock(context.Context) error   { (*sync.Mutex)(l).Lock(); return nil }
func (l *localLock) Unlock(context.Context) error { (*sync.Mutex)(l).Unlock(); return nil }
func (l *localLock) TryLock(context.Context) error {
	if (*sync.Mutex)(l).TryLock() {
		return nil
	}
	return errHeld
}

// keyed has one V for each key.
type keyed[V any] struct {
	mu sync.Mutex
	m  map[int]*V
}

func (k *keyed[V]) get(key int) *V {
	k.mu.Lock()
	defer k.mu.Unlock()
	v := k.m[key]
	if v == nil {
		if k.m == nil {
			k.m = make(map[int]*V)
		}
		v = new(V)
		k.m[key] = v
	}
	return v
}
