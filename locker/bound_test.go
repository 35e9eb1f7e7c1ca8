package locker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

func TestACommitUnderTheContextOfItsFunctionEndsWithTheCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lockertest.New(t)
		ctx, cancel := context.WithCancel(t.Context())
		var ended time.Time
		err := l.RunInLock(ctx, key, func(ctx context.Context, h *locker.Hold) error {
			lockertest.Disconnect(l)
			time.AfterFunc(time.Second, func() { ended = time.Now(); cancel() })
			_, err := h.Commit(ctx, nil, clientv3.OpPut("/x", "1"))
			return err
		}, locker.TTL(time.Hour))
		if late := time.Since(ended); late > 500*time.Millisecond {
			t.Errorf("it ends %v after the caller's context", late)
		}
		locktest.WantErr(t, err, context.Canceled, locker.ErrOutcomeUnknown)
		lockertest.Reconnect(l)
	})
}

func TestASilentEtcdIsNotTakenForACallerWhoGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lockertest.New(t)
		silent := func(err error) {
			t.Helper()
			if errors.Is(err, context.Canceled) || !errors.Is(err, locker.ErrUnavailable) {
				t.Errorf("got %v", err)
			}
		}
		h := locktest.Acquire(t, l, key)
		lockertest.Disconnect(l)
		silent(h.Release(h.Context()))
		lockertest.Reconnect(l)
		var err error
		_ = l.RunInLock(t.Context(), key, func(ctx context.Context, h *locker.Hold) error {
			lockertest.Disconnect(l)
			time.AfterFunc(6*time.Second, func() { lockertest.Reconnect(l) })
			_, err = h.Commit(ctx, nil, clientv3.OpPut("/x", "1"))
			return err
		}, locker.TTL(time.Hour))
		silent(err)
	})
}

func TestACommitUnderAContextThatIsDoneIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := key.ValuePath(locker.DefaultPrefix)
		var armed, silent atomic.Bool
		l := newLocker(t, faulty(lockertest.Client(lockertest.New(t)), &faults{
			before: func(ctx context.Context, c call) error {
				if silent.Load() && c.kind != "renew" && c.kind != "revoke" {
					<-ctx.Done()
					return ctx.Err()
				}
				return nil
			},
			after: func(_ context.Context, c call, err error) error {
				if c.wrote && armed.CompareAndSwap(true, false) {
					time.Sleep(240 * time.Millisecond)
					silent.Store(true)
				}
				return err
			}}), locker.WithRetain(time.Minute))
		commit(t, locktest.Acquire(t, l, key, locker.ReadKeys(path)), put(locker.DefaultPrefix, key, "first"))
		h := locktest.Acquire(t, l, key, locker.ReadKeys(path))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		armed.Store(true)
		began := time.Now()
		done, err := h.Commit(ctx, nil, put(locker.DefaultPrefix, key, "second"))
		if took := time.Since(began); !done || err != nil || took > 500*time.Millisecond {
			t.Errorf("got %v, %v after %v", done, err, took)
		}
		silent.Store(false)
	})
}

func TestCloseEndsAnAcquireThatFirstGivesUpAnotherEntry(t *testing.T) {
	for name, opt := range map[string]locker.AcquireOption{"shared": locker.Shared(), "another TTL": locker.TTL(time.Minute)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := lockertest.New(t, locker.WithRetain(time.Hour))
				locktest.Release(t, locktest.Acquire(t, l, key))
				lockertest.Disconnect(l)
				got := make(chan error, 1)
				go func() {
					_, err := l.Acquire(context.Background(), key, opt)
					got <- err
				}()
				synctest.Wait()
				_ = l.Close() // which cannot reach etcd
				select {
				case err := <-got:
					locktest.WantErr(t, err, locker.ErrClosed)
				case <-time.After(time.Minute):
					t.Error("it goes on")
				}
				lockertest.Reconnect(l)
			})
		})
	}
}
