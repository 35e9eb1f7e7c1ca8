package work

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
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

// Batches is the limit for Distinct: two goroutines that write keys and delete them in transactions of many, each write and
// each delete with its comparison, and lock nothing. No lock that shares its commits can be faster for long.
func Batches(b *testing.B, s *Site, keys int) {
	const flights, most = 2, 120 // etcd takes 128 operations
	var left atomic.Int64
	left.Store(int64(b.N))
	kv := s.client(b).KV
	sent := s.count()
	b.ResetTimer()
	var g errgroup.Group
	for f := range flights {
		names := make([]string, min(keys/flights, most))
		for i := range names {
			names[i] = s.path("batches", f*most+i)
		}
		g.Go(func() error {
			for left.Add(-int64(len(names))) > -int64(len(names)) {
				rev, err := commitAll(b.Context(), kv, names, 0, func(name string) clientv3.Op { return clientv3.OpPut(name, "value") })
				if err == nil {
					_, err = commitAll(b.Context(), kv, names, rev, func(name string) clientv3.Op { return clientv3.OpDelete(name) })
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := g.Wait()
	b.StopTimer()
	if err != nil {
		b.Fatal(err)
	}
	done := float64(int64(b.N) - min(0, left.Load()))
	b.ReportMetric(done/b.Elapsed().Seconds(), "locks/s")
	b.ReportMetric(float64(s.count()-sent)/done, "sent/lock")
}

// commitAll does op to all names whose keys have that create revision, and returns the revision of that.
func commitAll(ctx context.Context, kv clientv3.KV, names []string, rev int64, op func(name string) clientv3.Op) (int64, error) {
	cmps, ops := make([]clientv3.Cmp, len(names)), make([]clientv3.Op, len(names))
	for i, name := range names {
		cmps[i] = clientv3.Compare(clientv3.CreateRevision(name), "=", rev)
		ops[i] = op(name)
	}
	resp, err := kv.Txn(ctx).If(cmps...).Then(ops...).Commit()
	if err != nil {
		return 0, err
	}
	if !resp.Succeeded {
		return 0, errHeld
	}
	return resp.Header.Revision, nil
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
	rev, err := commitAll(ctx, t.kv, []string{t.key}, rev, func(string) clientv3.Op { return op })
	t.rev = rev
	return err
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
