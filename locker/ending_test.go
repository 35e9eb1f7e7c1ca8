package locker_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

func TestALossWhileSeveralLocksAreBoundEndsAll(t *testing.T) {
	t.Parallel()
	l, _, _, _ := newPair(t)
	for range 200 {
		if n := locker.BindAndEnd(l); n > 0 {
			t.Fatalf("%d holds go on", n)
		}
	}
}

func TestTheOthersAreFreedWhenOneIsLostBeforeSeveralLocksAreBound(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	var holds []*locker.Hold
	for _, k := range several {
		holds = append(holds, locktest.Acquire(t, a, k))
	}
	if _, err := b.Evict(t.Context(), several[1]); err != nil {
		t.Fatal(err)
	}
	locktest.WantErr(t, locker.BindLost(t.Context(), holds[1], holds...), locker.ErrLost)
	locktest.Release(t, acquireAll(t, b, several...))
}

func TestAHoldThatWasOverdueStaysLost(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	var ahead atomic.Int64
	locker.SetClocks(a, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
	h := locktest.Acquire(t, a, key)
	ahead.Store(int64(time.Hour))
	err := h.Err()
	ahead.Store(0)
	locktest.WantLost(t, err, locker.ReasonDeadline)
	locktest.WantLost(t, h.Err(), locker.ReasonDeadline)
	locktest.Receive(t, h.Context().Done())
	locktest.WantLost(t, h.Release(t.Context()), locker.ReasonDeadline)
	locktest.Until(t, "the lock is free", func() bool {
		h, err := b.TryAcquire(t.Context(), key)
		return err == nil && h.Release(t.Context()) == nil
	})
}

func TestTheZeroLockerRefusesEveryCall(t *testing.T) {
	t.Parallel()
	var l locker.Locker
	ctx := t.Context()
	run := func(context.Context, *locker.Hold) error { t.Error("it ran"); return nil }
	for name, call := range map[string]func() error{
		"Acquire":    func() error { return locktest.Second(l.Acquire(ctx, key)) },
		"TryAcquire": func() error { return locktest.Second(l.TryAcquire(ctx, key)) },
		"AcquireAll": func() error { return locktest.Second(l.AcquireAll(ctx, []keyspace.Key{key, neighbour})) },
		"RunInLock":  func() error { return l.RunInLock(ctx, key, run) },
		"Inspect":    func() error { return locktest.Second(l.Inspect(ctx, key)) },
		"List":       func() error { return listError(l.List(ctx, "")) },
		"Blocking":   func() error { return locktest.Second(l.Blocking(ctx, key)) },
		"Evict":      func() error { return locktest.Second(l.Evict(ctx, key)) },
		"Shutdown":   func() error { return l.Shutdown(ctx) },
		"Close":      l.Close,
		"Context":    func() error { return context.Cause(l.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			locktest.WantErr(t, locktest.Receive(t, asChannel(call)), locker.ErrInvalidOption)
		})
	}
	if l.Client() != nil || l.Prefix() != "" {
		t.Errorf("client %v, prefix %q", l.Client(), l.Prefix())
	}
}

func asChannel(call func() error) <-chan error {
	c := make(chan error, 1)
	go func() { c <- call() }()
	return c
}

// A slowTxn lets transactions that delete something wait until its gate is closed.
type slowTxn struct {
	clientv3.KV
	at   chan struct{} // gets a value when one waits
	gate chan struct{}
}

func (kv *slowTxn) Txn(ctx context.Context) clientv3.Txn {
	return &gatedTxn{Txn: kv.KV.Txn(ctx), kv: kv}
}

type gatedTxn struct {
	clientv3.Txn
	kv      *slowTxn
	deletes bool
}

func (t *gatedTxn) If(c ...clientv3.Cmp) clientv3.Txn  { t.Txn = t.Txn.If(c...); return t }
func (t *gatedTxn) Else(o ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Else(o...); return t }
func (t *gatedTxn) Then(o ...clientv3.Op) clientv3.Txn {
	t.Txn, t.deletes = t.Txn.Then(o...), slices.ContainsFunc(o, clientv3.Op.IsDelete)
	return t
}

func (t *gatedTxn) Commit() (*clientv3.TxnResponse, error) {
	if t.deletes {
		select {
		case t.kv.at <- struct{}{}:
		default:
		}
		<-t.kv.gate
	}
	return t.Txn.Commit()
}

func TestARunThatWasHeldTooLongReturnsWhenTheLockIsFree(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]func(l *locker.Locker, wait func(context.Context)) error{
		"RunInLock": func(l *locker.Locker, wait func(context.Context)) error {
			return l.RunInLock(context.Background(), key, func(ctx context.Context, _ *locker.Hold) error { wait(ctx); return nil })
		},
		"Release": func(l *locker.Locker, wait func(context.Context)) error {
			h, err := l.Acquire(context.Background(), key)
			if err != nil {
				return err
			}
			wait(context.Background())
			return h.Release(context.Background())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, b, client, prefix := newPair(t)
			kv := &slowTxn{KV: client.KV, at: make(chan struct{}, 1), gate: make(chan struct{})}
			client.KV = kv
			l := newLocker(t, client, locker.WithPrefix(prefix), locker.WithMonitorTicks(5*time.Millisecond), locker.WithMaxHeldTime(time.Second/2))
			waited := make(chan struct{})
			ran := asChannel(func() error {
				return run(l, func(context.Context) {
					locktest.Receive(t, kv.at) // the monitor's release
					close(waited)
				})
			})
			locktest.Receive(t, waited)
			select {
			case err := <-ran:
				t.Errorf("it returned before the release was answered: %v", err)
			case <-time.After(100 * time.Millisecond):
				close(kv.gate)
				locktest.WantErr(t, locktest.Receive(t, ran), locker.ErrMaxHeld)
			}
			h, err := b.TryAcquire(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			locktest.Release(t, h)
		})
	}
}
