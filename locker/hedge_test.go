package locker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/locker"
)

// A forkedKV is one of which, while armed, the first of two transactions is carried
// out, but not answered, and the second is refused.
type forkedKV struct {
	clientv3.KV
	armed *atomic.Int64
}

func (kv forkedKV) Txn(ctx context.Context) clientv3.Txn { return forkedTxn{kv.KV.Txn(ctx), kv} }

type forkedTxn struct {
	clientv3.Txn
	kv forkedKV
}

func (t forkedTxn) If(cmps ...clientv3.Cmp) clientv3.Txn { t.Txn.If(cmps...); return t }
func (t forkedTxn) Then(ops ...clientv3.Op) clientv3.Txn { t.Txn.Then(ops...); return t }
func (t forkedTxn) Else(ops ...clientv3.Op) clientv3.Txn { t.Txn.Else(ops...); return t }

func (t forkedTxn) Commit() (*clientv3.TxnResponse, error) {
	switch t.kv.armed.Add(-1) {
	case 1:
		_, _ = t.Txn.Commit()
		time.Sleep(150 * time.Millisecond)
		return nil, rpctypes.ErrTimeoutDueToConnectionLost
	case 0:
		time.Sleep(100 * time.Millisecond)
		return nil, rpctypes.ErrPermissionDenied
	}
	return t.Txn.Commit()
}

// While a member is silent, calls go twice: one may be carried out though the
// other is refused.
func TestARefusalOfOneOfTwoCallsLeavesTheOutcomeOpen(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c, armed := sim.NewClient("a"), new(atomic.Int64)
		client := clientv3.NewCtxClient(c.Ctx())
		client.KV, client.Lease, client.Watcher = forkedKV{c.KV, armed}, c.Lease, c.Watcher
		l, other := newLocker(t, client), newLocker(t, sim.NewClient("b").Client)
		twice := func() {
			locker.SuspectMember(l)
			armed.Store(2)
		}

		h := locktest.Acquire(t, l, key)
		twice()
		if done, err := h.Commit(t.Context(), nil, clientv3.OpPut("/x", "1")); !done && !errors.Is(err, locker.ErrOutcomeUnknown) {
			t.Errorf("commit: %v, %v, though it was carried out", done, err)
		}
		h = locktest.Acquire(t, l, key)
		twice()
		_ = h.Release(t.Context()) // not confirmed, or done
		for _, try := range []bool{false, true} {
			twice()
			acquire := l.Acquire
			if try {
				acquire = l.TryAcquire
			}
			h, err := acquire(t.Context(), key)
			if err == nil {
				locktest.Release(t, h)
			}
			time.Sleep(5 * time.Second)
			if q, err := other.Inspect(t.Context(), key); err != nil || len(q.Holders) > 0 {
				t.Errorf("try %v: left behind: %v, %v", try, q, err)
			}
		}
	})
}
