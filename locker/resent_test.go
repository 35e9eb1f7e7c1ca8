package locker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// newResending returns a Locker, and another. Once armed, the next transaction of the first is sent twice, as by a layer that
// tries again when an answer is lost. etcd's own client does not.
func newResending(t *testing.T, opts ...locker.Option) (l, other *locker.Locker, armed *atomic.Bool) {
	t.Helper()
	other, armed = lockertest.New(t), new(atomic.Bool)
	tap := &locktest.Tap{Around: func(ctx context.Context, _ locktest.Txn, send locktest.Send) (locktest.Answer, error) {
		if armed.CompareAndSwap(true, false) {
			_, _ = send(ctx) // whose answer is lost
		}
		return send(ctx)
	}}
	return newLocker(t, tap.On(lockertest.Client(other)), opts...), other, armed
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
				h := locktest.Acquire(t, l, key)
				got := locktest.Async(t, func() *locker.Hold { return locktest.Acquire(t, l, key) })
				synctest.Wait()
				armed.Store(true)
				locktest.WantErr(t, free(h), nil)
				next := got()
				if next.Token() <= h.Token() {
					t.Errorf("token %d after %d", next.Token(), h.Token())
				}
				locktest.Release(t, next)
				locktest.Release(t, locktest.Acquire(t, other, key))
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
				h := locktest.Acquire(t, l, key, locker.ReadKeys(path))
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
			locktest.Release(t, locktest.Acquire(t, other, key))
		})
	}
}

func TestAnAcquireThatIsSentTwiceIsGranted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, other, armed := newResending(t)
		for _, acquire := range []func() (anyHold, error){
			func() (anyHold, error) { return l.Acquire(t.Context(), key) },
			func() (anyHold, error) { return l.TryAcquire(t.Context(), key) },
			func() (anyHold, error) {
				return l.AcquireAll(t.Context(), []keyspace.Key{key, keyspace.MustParse("other")})
			},
		} {
			armed.Store(true)
			h, err := acquire()
			locktest.WantErr(t, err, nil)
			locktest.Release(t, h)
		}
		locktest.Release(t, acquireAll(t, other, key, keyspace.MustParse("other")))
	})
}
