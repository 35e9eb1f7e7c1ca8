package locker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// A resender is a KV of which, once armed, the next transaction is sent twice, as
// by a layer that tries again when an answer is lost. etcd's own client does not.
type resender struct {
	clientv3.KV
	armed *atomic.Bool
}

func (kv resender) Txn(ctx context.Context) clientv3.Txn {
	return &resentTxn{Txn: kv.KV.Txn(ctx), kv: kv, ctx: ctx}
}

type resentTxn struct {
	clientv3.Txn
	kv           resender
	ctx          context.Context
	cmps         []clientv3.Cmp
	thens, elses []clientv3.Op
}

func (t *resentTxn) If(cmps ...clientv3.Cmp) clientv3.Txn { t.cmps = cmps; return t }
func (t *resentTxn) Then(ops ...clientv3.Op) clientv3.Txn { t.thens = ops; return t }
func (t *resentTxn) Else(ops ...clientv3.Op) clientv3.Txn { t.elses = ops; return t }

func (t *resentTxn) Commit() (*clientv3.TxnResponse, error) {
	send := func() (*clientv3.TxnResponse, error) {
		return t.kv.KV.Txn(t.ctx).If(t.cmps...).Then(t.thens...).Else(t.elses...).Commit()
	}
	if t.kv.armed.CompareAndSwap(true, false) {
		_, _ = send() // whose answer is lost
	}
	return send()
}

// newResending returns a Locker whose next transaction is sent twice when armed,
// and another.
func newResending(t *testing.T, opts ...locker.Option) (l, other *locker.Locker, armed *atomic.Bool) {
	t.Helper()
	other, armed = lockertest.New(t), new(atomic.Bool)
	client := *lockertest.Client(other)
	client.KV = resender{client.KV, armed}
	return newLocker(t, &client, opts...), other, armed
}

func TestARequeueThatIsSentTwicePassesTheLockOn(t *testing.T) {
	for how, free := range map[string]func(h *locker.Hold) error{
		"release": func(h *locker.Hold) error { return h.Release(context.Background()) },
		"commit": func(h *locker.Hold) error {
			_, err := h.Commit(context.Background(), nil, clientv3.OpPut("/x", "1"))
			return err
		},
	} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, other, armed := newResending(t, locker.WithHandoff(0))
				h := acquire(t, l, key)
				got := async(t, func() *locker.Hold { return acquire(t, l, key) })
				synctest.Wait()
				armed.Store(true)
				wantErr(t, free(h), nil)
				next := got()
				if next.Token() <= h.Token() {
					t.Errorf("token %d after %d", next.Token(), h.Token())
				}
				release(t, next)
				release(t, acquire(t, other, key))
			})
		})
	}
}

func TestACommitThatIsSentTwiceIsToldAsDone(t *testing.T) {
	path := key.ValuePath(locker.DefaultPrefix)
	for _, retain := range []time.Duration{0, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			l, other, armed := newResending(t, locker.WithRetain(retain))
			for _, value := range []string{"first", "second"} {
				h := acquire(t, l, key, locker.Reading(path))
				var read int64
				if kv := h.Read()[0]; kv != nil {
					read = kv.ModRevision
				}
				armed.Store(true)
				unchanged := clientv3.Compare(clientv3.ModRevision(path), "=", read)
				done, err := h.Commit(t.Context(), []clientv3.Cmp{unchanged}, clientv3.OpPut(path, value))
				if !done || err != nil {
					t.Errorf("%s, retained for %v: got %v, %v", value, retain, done, err)
				}
			}
			release(t, acquire(t, other, key))
		})
	}
}

func TestAnAcquireThatIsSentTwiceIsGranted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, other, armed := newResending(t)
		for _, acquire := range []func() (*locker.Hold, error){
			func() (*locker.Hold, error) { return l.Acquire(t.Context(), key) },
			func() (*locker.Hold, error) { return l.TryAcquire(t.Context(), key) },
			func() (*locker.Hold, error) { return l.AcquireAll(t.Context(), key, keyspace.MustParse("other")) },
		} {
			armed.Store(true)
			h, err := acquire()
			wantErr(t, err, nil)
			release(t, h)
		}
		release(t, acquireAll(t, other, key, keyspace.MustParse("other")))
	})
}
