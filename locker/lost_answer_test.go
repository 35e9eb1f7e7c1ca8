package locker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/locker"
)

// errAnswer is what a caller sees when etcd did the work and the answer is lost.
var errAnswer = rpctypes.ErrTimeout

// lostAnswers is a table of every write that the protocol makes. In each row
// one Locker loses the answer of the first write of that kind, once as an error
// and once by waiting until the caller gives up.
var lostAnswers = []struct {
	name string
	kind string
	run  func(t *testing.T, a, b *locker.Locker)
}{
	{"grant of a lease", "grant", func(t *testing.T, a, _ *locker.Locker) {
		_, _ = a.Acquire(brief(t), key)
		release(t, acquire(t, a, key))
	}},
	{"acquire of a free lock", "acquire", func(t *testing.T, a, _ *locker.Locker) {
		if h, err := a.Acquire(brief(t), key); err == nil {
			release(t, h)
		}
	}},
	{"acquire of a held lock", "acquire", func(t *testing.T, a, b *locker.Locker) {
		held := acquire(t, b, key)
		got := async(t, func() *locker.Hold { h, _ := a.Acquire(brief(t), key); return h })
		time.AfterFunc(20*time.Millisecond, func() { _ = held.Release(context.Background()) })
		if h := got(); h != nil {
			release(t, h)
		}
		until(t, "the lock is released", func() bool { return held.Err() != nil })
	}},
	{"try of a free lock", "try", func(t *testing.T, a, _ *locker.Locker) {
		if h, err := a.TryAcquire(brief(t), key); err == nil {
			release(t, h)
		}
	}},
	{"release", "delete", func(t *testing.T, a, _ *locker.Locker) {
		h := acquire(t, a, key)
		_ = h.Release(brief(t))
		until(t, "it is settled", func() bool { return h.Release(brief(t)) == nil })
	}},
	{"Unlock", "delete", func(t *testing.T, a, _ *locker.Locker) {
		if err := a.Lock(t.Context(), key.String(), 2); err != nil {
			t.Fatal(err)
		}
		until(t, "it is unlocked", func() bool {
			err := a.Unlock(brief(t), key.String())
			return err == nil || errors.Is(err, locker.ErrNotHeld)
		})
	}},
	{"clean-up of a cancelled wait", "delete", func(t *testing.T, a, b *locker.Locker) {
		held := acquire(t, b, key)
		_, err := a.Acquire(brief(t), key)
		wantErr(t, err, context.DeadlineExceeded)
		release(t, held)
	}},
	{"forced release of the monitor", "delete", func(t *testing.T, a, _ *locker.Locker) {
		h := acquire(t, a, key, locker.MaxHeld(time.Millisecond))
		receive(t, h.Context().Done())
		wantErr(t, context.Cause(h.Context()), locker.ErrMaxHeld)
	}},
	{"mark of an eviction", "mark", func(t *testing.T, a, b *locker.Locker) {
		h := acquire(t, b, key)
		until(t, "it is evicted", func() bool { _, err := a.Evict(brief(t), key); return err == nil })
		receive(t, h.Context().Done())
		wantLost(t, h.Release(t.Context()), locker.Evicted)
	}},
	{"deletion of an eviction", "delete", func(t *testing.T, a, b *locker.Locker) {
		h := acquire(t, b, key)
		until(t, "it is evicted", func() bool { _, err := a.Evict(brief(t), key); return err == nil })
		receive(t, h.Context().Done())
		wantLost(t, h.Release(t.Context()), locker.Evicted)
	}},
	{"revocation of the lease", "revoke", func(t *testing.T, a, _ *locker.Locker) {
		acquire(t, a, key)
		_ = a.Close()
	}},
}

// brief is the context of a caller who gives up soon.
func brief(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func TestALostAnswerLeavesNoKeyDelaysNobodyBeyondTheLeaseAndRemovesNoYoungerHold(t *testing.T) {
	t.Parallel()
	ways := map[string]func(ctx context.Context) error{
		"as an error":  func(context.Context) error { return errAnswer },
		"by no answer": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	}
	for _, row := range lostAnswers {
		for way, lose := range ways {
			t.Run(row.name+" "+way, func(t *testing.T) {
				t.Parallel()
				s := etcdtest.Start(t)
				prefix, client := s.Prefix(t), s.Client(t)
				var lost atomic.Bool
				f := &faults{after: func(ctx context.Context, c call, err error) error {
					if c.kind == row.kind && err == nil && lost.CompareAndSwap(false, true) {
						return lose(ctx)
					}
					return err
				}}
				opts := []locker.Option{locker.WithPrefix(prefix), locker.WithTTL(2 * time.Second), locker.WithMonitorTicks(10 * time.Millisecond)}
				a, b := newLocker(t, faulty(client, f), opts...), newLocker(t, s.Client(t), opts...)

				row.run(t, a, b)
				until(t, "an answer is lost", lost.Load)
				// A rival gets the lock within the lease, and nothing that
				// the first still does takes it away.
				began := time.Now()
				h := acquire(t, b, key)
				if waited := time.Since(began); waited > 2*time.Second+500*time.Millisecond {
					t.Errorf("the rival waited for %v", waited)
				}
				if err := a.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				if got := keys(t, client, prefix); len(got) != 1 {
					t.Errorf("keys after Close: %v, want that of the rival", got)
				}
				if err := h.Release(t.Context()); err != nil {
					t.Errorf("the younger hold: %v", err)
				}
			})
		}
	}
}

func TestAWriteThatCommitsAfterItWasGivenUpIsRemoved(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"acquire", "try"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := etcdtest.Start(t)
			prefix, client := s.Prefix(t), s.Client(t)
			f, gate := lateOnce(kind)
			a := newLocker(t, faulty(client, f), locker.WithPrefix(prefix), locker.WithTTL(2*time.Second))
			b := newLocker(t, s.Client(t), locker.WithPrefix(prefix))
			var err error
			if kind == "try" {
				_, err = a.TryAcquire(t.Context(), key)
			} else {
				_, err = a.Acquire(t.Context(), key)
			}
			wantErr(t, err, errLate)

			events := client.Watch(t.Context(), key.Path(prefix), clientv3.WithPrefix(), clientv3.WithCreatedNotify())
			receive(t, events)
			close(gate)
			if ev := receive(t, events).Events[0]; !ev.IsCreate() {
				t.Fatalf("got %v, want the late write", ev)
			}
			release(t, acquire(t, b, key)) // behind the late write
		})
	}
}

func TestANameThatALateWriteOccupiesCanBeLockedAgain(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix, client := s.Prefix(t), s.Client(t)
	f, gate := lateOnce("acquire")
	a := newLocker(t, faulty(client, f), locker.WithPrefix(prefix), locker.WithTTL(time.Hour))
	_, err := a.Acquire(t.Context(), key)
	wantErr(t, err, errLate)
	close(gate)
	until(t, "the late write is there", func() bool { return len(keys(t, client, prefix)) == 1 })
	first := acquire(t, a, key)
	release(t, first)
	h, err := a.TryAcquire(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if h.Token() <= first.Token() {
		t.Errorf("token %d after %d", h.Token(), first.Token())
	}
	release(t, h)
}
