package locker_test

import (
	"context"
	"errors"
	"path"
	"strings"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A call is one request that a faulty client sends.
type call struct {
	kind  string       // "acquire", "try", "mark", "delete", "batch", "read", "get", "grant", "revoke", "renew", "ttl" or "watch"
	wrote bool         // after it: etcd changed something
	again func() error // sends a transaction anew, as a late or doubled delivery would
}

// faults watches and breaks what a client sends. The functions may be nil and
// may block; they run on the goroutine that makes the call.
type faults struct {
	before func(ctx context.Context, c call) error            // an error is returned instead of sending
	after  func(ctx context.Context, c call, err error) error // its error is returned instead of the answer
	late   func(c call) (gate <-chan struct{})                // a transaction fails at once, and commits when gate is closed
}

func (f *faults) around(ctx context.Context, c call, send func() (wrote bool, err error)) error {
	if f.before != nil {
		if err := f.before(ctx, c); err != nil {
			return err
		}
	}
	var err error
	c.wrote, err = send()
	if f.after != nil {
		return f.after(ctx, c, err)
	}
	return err
}

// losing returns faults that lose the calls that lose picks, or only their
// answers.
func losing(answers bool, err error, lose func(call) bool) *faults {
	return &faults{
		before: func(_ context.Context, c call) error {
			if !answers && lose(c) {
				return err
			}
			return nil
		},
		after: func(_ context.Context, c call, result error) error {
			if answers && lose(c) {
				return err
			}
			return result
		},
	}
}

// lateOnce returns faults under which the first write of a kind is given up at
// once, and committed when gate is closed.
func lateOnce(kind string) (f *faults, gate chan struct{}) {
	gate = make(chan struct{})
	var once atomic.Bool
	return &faults{late: func(c call) <-chan struct{} {
		if c.kind == kind && once.CompareAndSwap(false, true) {
			return gate
		}
		return nil
	}}, gate
}

// faulty returns a client whose calls go through f to client.
func faulty(client *clientv3.Client, f *faults) *clientv3.Client {
	c := clientv3.NewCtxClient(client.Ctx())
	c.KV = &faultyKV{client.KV, f}
	c.Lease = &faultyLease{client.Lease, f}
	c.Watcher = &faultyWatcher{client.Watcher, f}
	return c
}

type faultyKV struct {
	clientv3.KV
	f *faults
}

func (kv *faultyKV) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (resp *clientv3.GetResponse, err error) {
	err = kv.f.around(ctx, call{kind: "get"}, func() (bool, error) {
		resp, err = kv.KV.Get(ctx, key, opts...)
		return false, err
	})
	return resp, err
}

func (kv *faultyKV) Txn(ctx context.Context) clientv3.Txn {
	return &faultyTxn{kv: kv.KV, ctx: ctx, f: kv.f, c: call{kind: "read"}}
}

type faultyTxn struct {
	kv   clientv3.KV
	ctx  context.Context
	f    *faults
	c    call
	cmps []clientv3.Cmp
	thens,
	elses []clientv3.Op
}

func (t *faultyTxn) If(cs ...clientv3.Cmp) clientv3.Txn {
	t.cmps = cs
	return t
}

func (t *faultyTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	t.thens = ops
	dirs := map[string]bool{}
	for _, op := range ops {
		if op.IsPut() || op.IsDelete() {
			dirs[path.Dir(string(op.KeyBytes()))] = true
		}
	}
	for _, op := range ops {
		switch {
		case op.IsTxn(), len(dirs) > 1:
			t.c.kind = "batch"
		case op.IsDelete():
			t.c.kind = "delete"
		case op.IsPut() && len(ops) > 1:
			t.c.kind = "acquire"
		case op.IsPut() && len(op.ValueBytes()) > 0 && strings.Contains(string(op.ValueBytes()), `"evicted":true`):
			t.c.kind = "mark"
		case op.IsPut():
			t.c.kind = "try"
		}
	}
	return t
}

func (t *faultyTxn) Else(ops ...clientv3.Op) clientv3.Txn {
	t.elses = ops
	return t
}

func (t *faultyTxn) commit(ctx context.Context) (*clientv3.TxnResponse, error) {
	return t.kv.Txn(ctx).If(t.cmps...).Then(t.thens...).Else(t.elses...).Commit()
}

func (t *faultyTxn) Commit() (resp *clientv3.TxnResponse, err error) {
	t.c.again = func() error {
		_, err := t.commit(context.Background())
		return err
	}
	if t.f.late != nil {
		if gate := t.f.late(t.c); gate != nil {
			go func() {
				<-gate
				_, _ = t.commit(context.Background())
			}()
			return nil, errLate
		}
	}
	err = t.f.around(t.ctx, t.c, func() (bool, error) {
		resp, err = t.commit(t.ctx)
		return err == nil && resp.Succeeded && t.c.kind != "read", err
	})
	if err != nil {
		resp = nil
	}
	return resp, err
}

var errLate = errors.New("test: given up, committed later")

type faultyLease struct {
	clientv3.Lease
	f *faults
}

func (l *faultyLease) Grant(ctx context.Context, ttl int64) (resp *clientv3.LeaseGrantResponse, err error) {
	err = l.f.around(ctx, call{kind: "grant"}, func() (bool, error) {
		resp, err = l.Lease.Grant(ctx, ttl)
		return err == nil, err
	})
	return resp, err
}

func (l *faultyLease) Revoke(ctx context.Context, id clientv3.LeaseID) (resp *clientv3.LeaseRevokeResponse, err error) {
	err = l.f.around(ctx, call{kind: "revoke"}, func() (bool, error) {
		resp, err = l.Lease.Revoke(ctx, id)
		return err == nil, err
	})
	return resp, err
}

func (l *faultyLease) KeepAliveOnce(ctx context.Context, id clientv3.LeaseID) (resp *clientv3.LeaseKeepAliveResponse, err error) {
	err = l.f.around(ctx, call{kind: "renew"}, func() (bool, error) {
		resp, err = l.Lease.KeepAliveOnce(ctx, id)
		return false, err
	})
	return resp, err
}

func (l *faultyLease) TimeToLive(ctx context.Context, id clientv3.LeaseID, opts ...clientv3.LeaseOption) (resp *clientv3.LeaseTimeToLiveResponse, err error) {
	err = l.f.around(ctx, call{kind: "ttl"}, func() (bool, error) {
		resp, err = l.Lease.TimeToLive(ctx, id, opts...)
		return false, err
	})
	return resp, err
}

type faultyWatcher struct {
	clientv3.Watcher
	f *faults
}

func (w *faultyWatcher) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) (ch clientv3.WatchChan) {
	err := w.f.around(ctx, call{kind: "watch"}, func() (bool, error) {
		ch = w.Watcher.Watch(ctx, key, opts...)
		return false, nil
	})
	if err != nil {
		broken := make(chan clientv3.WatchResponse)
		close(broken)
		return broken
	}
	return ch
}

// A counter counts the calls of a faulty client, and those that wrote.
type counter struct{ calls, writes atomic.Int64 }

func (n *counter) after(_ context.Context, c call, err error) error {
	n.calls.Add(1)
	if c.wrote {
		n.writes.Add(1)
	}
	return err
}
