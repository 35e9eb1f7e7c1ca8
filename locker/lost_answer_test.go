package locker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
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
		if h, err := a.Acquire(brief(t), key); err == nil { // it was tried again
			locktest.Release(t, h)
		}
		locktest.Release(t, locktest.Acquire(t, a, key))
	}},
	{"acquire of a free lock", "acquire", func(t *testing.T, a, _ *locker.Locker) {
		if h, err := a.Acquire(brief(t), key); err == nil {
			locktest.Release(t, h)
		}
	}},
	{"acquire of a held lock", "acquire", func(t *testing.T, a, b *locker.Locker) {
		held := locktest.Acquire(t, b, key)
		got := locktest.Async(t, func() *locker.Hold { h, _ := a.Acquire(brief(t), key); return h })
		time.AfterFunc(20*time.Millisecond, func() { _ = held.Release(context.Background()) })
		if h := got(); h != nil {
			locktest.Release(t, h)
		}
		locktest.Until(t, "the lock is released", func() bool { return held.Err() != nil })
	}},
	{"try of a free lock", "try", func(t *testing.T, a, _ *locker.Locker) {
		if h, err := a.TryAcquire(brief(t), key); err == nil {
			locktest.Release(t, h)
		}
	}},
	{"release", "delete", func(t *testing.T, a, _ *locker.Locker) {
		h := locktest.Acquire(t, a, key)
		_ = h.Release(brief(t))
		locktest.Until(t, "it is settled", func() bool { return h.Release(brief(t)) == nil })
	}},
	{"clean-up of a cancelled wait", "delete", func(t *testing.T, a, b *locker.Locker) {
		held := locktest.Acquire(t, b, key)
		_, err := a.Acquire(brief(t), key)
		locktest.WantErr(t, err, context.DeadlineExceeded)
		locktest.Release(t, held)
	}},
	{"forced release of the monitor", "delete", func(t *testing.T, a, _ *locker.Locker) {
		h := locktest.Acquire(t, a, key, locker.MaxHeld(time.Millisecond))
		locktest.Receive(t, h.Context().Done())
		locktest.WantErr(t, context.Cause(h.Context()), locker.ErrMaxHeld)
	}},
	{"mark of an eviction", "mark", func(t *testing.T, a, b *locker.Locker) {
		h := locktest.Acquire(t, b, key)
		locktest.Until(t, "it is evicted", func() bool { _, err := a.Evict(brief(t), key); return err == nil })
		locktest.Receive(t, h.Context().Done())
		locktest.WantLost(t, h.Release(t.Context()), locker.ReasonEvicted)
	}},
	{"deletion of an eviction", "delete", func(t *testing.T, a, b *locker.Locker) {
		h := locktest.Acquire(t, b, key)
		locktest.Until(t, "it is evicted", func() bool { _, err := a.Evict(brief(t), key); return err == nil })
		locktest.Receive(t, h.Context().Done())
		locktest.WantLost(t, h.Release(t.Context()), locker.ReasonEvicted)
	}},
	{"revocation of the lease", "revoke", func(t *testing.T, a, _ *locker.Locker) {
		locktest.Acquire(t, a, key)
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
				locktest.Until(t, "an answer is lost", lost.Load)
				// A rival gets the lock within the lease, and nothing that
				// the first still does takes it away.
				began := time.Now()
				h := locktest.Acquire(t, b, key)
				if waited := time.Since(began); waited > 4*time.Second {
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
			// Another lock, by the other kind of write, keeps the lease alive all along.
			get, getOther := a.Acquire, a.TryAcquire
			if kind == "try" {
				get, getOther = getOther, get
			}
			other, err := getOther(t.Context(), keyspace.MustParse("other"))
			locktest.Must(t, err)
			_, err = get(t.Context(), key)
			locktest.WantErr(t, err, errLate)

			events := client.Watch(t.Context(), key.Path(prefix), clientv3.WithPrefix(), clientv3.WithCreatedNotify())
			locktest.Receive(t, events)
			close(gate)
			if ev := locktest.Receive(t, events).Events[0]; !ev.IsCreate() {
				t.Fatalf("got %v, want the late write", ev)
			}
			acquireSoon(t, b) // behind the late write
			locktest.Release(t, other)
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
	locktest.WantErr(t, err, errLate)
	close(gate)
	locktest.Until(t, "the late write is there", func() bool { return len(keys(t, client, prefix)) == 1 })
	first := locktest.Acquire(t, a, key)
	locktest.Release(t, first)
	h, err := a.TryAcquire(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if h.Token() <= first.Token() {
		t.Errorf("token %d after %d", h.Token(), first.Token())
	}
	locktest.Release(t, h)
}

// What was put for the next one is no sign then.
func TestAReleaseWhoseAnswerIsLostIsNotALossAsTheNextEntryIsDeleted(t *testing.T) {
	t.Parallel()
	_, _, client, prefix := newPair(t)
	var br breaker
	f := &faults{after: func(_ context.Context, c call, err error) error {
		if !br.next(c) {
			return err
		}
		for _, k := range keys(t, client, prefix) {
			if _, err := client.Delete(context.Background(), k); err != nil {
				t.Error(err)
			}
		}
		return rpctypes.ErrLeaderChanged
	}}
	a := newLocker(t, faulty(client, f), locker.WithPrefix(prefix), locker.WithHandoff(0), locker.WithoutBatching())
	h := locktest.Acquire(t, a, key)
	next := acquiringIn(t, a, 1)
	br.armed.Store(true)
	locktest.Release(t, h)
	locktest.Release(t, next())
}

// An acquire is carried out, but neither its answer nor some of
// the calls that would look for it or undo it get through. The key must not
// stay for as long as its lease is kept alive by another lock.
func TestALostAnswerLeavesNoGhost(t *testing.T) {
	t.Parallel()
	for kind, acquire1 := range map[string]func(*locker.Locker, context.Context) (*locker.Hold, error){
		"acquire": func(l *locker.Locker, ctx context.Context) (*locker.Hold, error) { return l.Acquire(ctx, key) },
		"try":     func(l *locker.Locker, ctx context.Context) (*locker.Hold, error) { return l.TryAcquire(ctx, key) },
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := etcdtest.Start(t)
			prefix := locker.WithPrefix(s.Prefix(t))
			var armed atomic.Bool
			var broken atomic.Int32 // how many calls will still fail
			a := newLocker(t, faulty(s.Client(t), &faults{
				before: func(_ context.Context, c call) error {
					if (c.kind == "get" || c.kind == "read" || c.kind == "delete") && broken.Add(-1) >= 0 {
						return errNet
					}
					return nil
				},
				after: func(_ context.Context, c call, err error) error {
					if c.kind == kind && armed.CompareAndSwap(true, false) {
						broken.Store(3)
						return errNet
					}
					return err
				},
			}), prefix)
			b := newLocker(t, s.Client(t), prefix)

			other := locktest.Acquire(t, a, keyspace.MustParse("other"))
			armed.Store(true)
			h, err := acquire1(a, t.Context())
			if locktest.WantErr(t, err, errNet); h != nil {
				t.Fatal("both a hold and an error")
			}
			acquireSoon(t, b)
			locktest.Release(t, other) // it was alive all along, and with it the lease
		})
	}
}

// acquireSoon acquires key long before the lease of a ghost could end.
func acquireSoon(tb testing.TB, l *locker.Locker) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	h, err := l.Acquire(ctx, key)
	if err != nil {
		tb.Fatal(err)
	}
	locktest.Release(tb, h)
}
