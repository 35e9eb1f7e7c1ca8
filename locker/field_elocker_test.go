package locker_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/locker"
)

// The tests in the files field_elocker*_test.go are about failures of the
// original ELocker. Each names the number of its failure.

// keyName is key for the classic calls.
const keyName = "space/key"

// beside returns the Locker of another process, with options of its own.
func beside(tb testing.TB, prefix string, opts ...locker.Option) *locker.Locker {
	tb.Helper()
	return newLocker(tb, etcdtest.Start(tb).Client(tb), append(opts, locker.WithPrefix(prefix))...)
}

// impatient makes the monitor end every hold almost at once.
func impatient() []locker.Option {
	return []locker.Option{locker.WithMaxHeldTime(time.Millisecond), locker.WithMonitorTicks(5 * time.Millisecond)}
}

func lock(tb testing.TB, l *locker.Locker, name string) {
	tb.Helper()
	if err := l.Lock(tb.Context(), name, 15); err != nil {
		tb.Fatal(err)
	}
}

func unlock(tb testing.TB, l *locker.Locker, name string) {
	tb.Helper()
	if err := l.Unlock(tb.Context(), name); err != nil {
		tb.Fatal(err)
	}
}

// untilLocked locks name as soon as it is free.
func untilLocked(tb testing.TB, l *locker.Locker, name string) {
	tb.Helper()
	until(tb, name+" can be locked", func() bool { return l.Lock(tb.Context(), name, 15) == nil })
}

// evict takes name from its holder.
func evict(tb testing.TB, l *locker.Locker) {
	tb.Helper()
	if done, err := l.Evict(tb.Context(), key); !done || err != nil {
		tb.Fatalf("Evict: %v, %v", done, err)
	}
}

// lines is what a Locker logs.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *lines) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *lines) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func (w *lines) option() locker.Option {
	return locker.WithLogger(slog.New(slog.NewTextHandler(w, nil)))
}

// (ELocker 1) The race detector sees a monitor that reads what others write.
func TestTheMonitorMayLookWhileLocksComeAndGo(t *testing.T) {
	t.Parallel()
	l, _, _, _ := newPair(t, locker.WithMonitorTicks(50*time.Microsecond))
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 25 {
				name := fmt.Sprintf("%d/%d", g, i)
				if err := l.Lock(t.Context(), name, 15); err != nil {
					t.Error(err)
				}
				if err := l.Unlock(t.Context(), name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// (ELocker 2)
func TestALockHeldTooLongIsFreedAlsoWithoutACallback(t *testing.T) {
	t.Parallel()
	b, _, _, prefix := newPair(t)
	a := beside(t, prefix, impatient()...)
	lock(t, a, keyName)
	release(t, acquire(t, b, key))
	wantErr(t, a.Unlock(t.Context(), keyName), locker.ErrMaxHeld)
}

// (ELocker 3)
func TestALateUnlockSparesTheYoungerLock(t *testing.T) {
	t.Parallel()
	t.Run("of the same Locker", func(t *testing.T) {
		t.Parallel()
		// The monitor looks so seldom that the second lock is safe from it.
		a, b, _, _ := newPair(t, locker.WithMaxHeldTime(time.Millisecond), locker.WithMonitorTicks(2*time.Second))
		lock(t, a, keyName)
		untilLocked(t, a, keyName)
		wantErr(t, a.Unlock(t.Context(), keyName), locker.ErrMaxHeld)
		wantErr(t, b.Lock(t.Context(), keyName, 15), locker.ErrLocked)
		unlock(t, a, keyName)
		wantErr(t, a.Unlock(t.Context(), keyName), locker.ErrNotHeld)
	})
	t.Run("of the same Locker, after two losses", func(t *testing.T) {
		t.Parallel()
		a, b, _, _ := newPair(t)
		lock(t, a, keyName)
		for range 2 {
			evict(t, b)
			untilLocked(t, a, keyName)
		}
		for range 2 {
			wantLost(t, a.Unlock(t.Context(), keyName), locker.Evicted)
			wantErr(t, b.Lock(t.Context(), keyName, 15), locker.ErrLocked)
		}
		unlock(t, a, keyName)
	})
	t.Run("of another process", func(t *testing.T) {
		t.Parallel()
		b, c, _, prefix := newPair(t)
		a := beside(t, prefix, impatient()...)
		lock(t, a, keyName)
		untilLocked(t, b, keyName)
		wantErr(t, a.Unlock(t.Context(), keyName), locker.ErrMaxHeld)
		wantErr(t, c.Lock(t.Context(), keyName, 15), locker.ErrLocked)
		unlock(t, b, keyName)
	})
}

// (ELocker 4)
func TestCallbacksMayCallTheLocker(t *testing.T) {
	t.Parallel()
	_, _, _, prefix := newPair(t)
	t.Run("on success", func(t *testing.T) {
		errs := make(chan error, 4)
		var l *locker.Locker
		var called atomic.Bool
		l = beside(t, prefix, locker.WithSuccessCallback(func(name string) {
			if called.CompareAndSwap(false, true) {
				errs <- l.Lock(t.Context(), "other", 15)
				errs <- l.Unlock(t.Context(), "other")
				errs <- l.Lock(t.Context(), name, 15)
				errs <- l.Unlock(t.Context(), name) // before Lock has returned
			}
		}))
		done := async(t, func() error { return l.Lock(t.Context(), keyName, 15) })
		for _, want := range []error{nil, nil, locker.ErrLocked, nil} {
			wantErr(t, receive(t, errs), want)
		}
		wantErr(t, done(), nil)
		wantErr(t, l.Unlock(t.Context(), keyName), locker.ErrNotHeld)
	})
	t.Run("on timeout", func(t *testing.T) {
		errs := make(chan error, 3)
		var l *locker.Locker
		var called atomic.Bool
		l = beside(t, prefix, append(impatient(), locker.WithTimeoutCallback(func(name string, _ time.Duration) {
			if called.CompareAndSwap(false, true) {
				errs <- l.Unlock(t.Context(), name)
				errs <- l.Lock(t.Context(), "other", 15)
				errs <- l.Lock(t.Context(), name, 15)
			}
		}))...)
		lock(t, l, keyName)
		for _, want := range []error{locker.ErrMaxHeld, nil, nil} {
			wantErr(t, receive(t, errs), want)
		}
	})
}

// (ELocker 4)
func TestACallThatEtcdDoesNotAnswerHoldsUpNoOtherKey(t *testing.T) {
	t.Parallel()
	const hang = 3 // so many calls are not answered
	var armed atomic.Bool
	var stuck, over atomic.Int64
	f := &faults{before: func(ctx context.Context, c call) error {
		if !armed.Load() || c.kind != "try" && c.kind != "delete" || stuck.Add(1) > hang {
			return nil
		}
		<-ctx.Done()
		over.Add(1)
		return ctx.Err()
	}}
	s := etcdtest.Start(t)
	l := newLocker(t, faulty(s.Client(t), f), locker.WithPrefix(s.Prefix(t)))
	lock(t, l, "held")

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	armed.Store(true)
	ends := []func() error{
		async(t, func() error { return l.Lock(ctx, "lock", 15) }),
		async(t, func() error { _, err := l.RunFuncInLock(ctx, "run", 15, func() {}); return err }),
		async(t, func() error { return l.Unlock(ctx, "held") }),
	}
	until(t, "the calls are stuck", func() bool { return stuck.Load() == hang })
	for range 3 {
		lock(t, l, keyName)
		unlock(t, l, keyName)
		if _, err := l.RunFuncInLock(t.Context(), keyName, 15, func() {}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"lock", "run", "held"} {
		wantErr(t, l.Lock(t.Context(), name, 15), locker.ErrLocked)
	}
	if n := over.Load(); n > 0 {
		t.Fatalf("%d calls gave up too early to show anything", n)
	}
	cancel()
	for i, end := range ends {
		if err := end(); err == nil {
			t.Errorf("call %d: no error", i)
		}
	}
}

// (ELocker 5)
func TestALockWhoseLeaseIsGoneCanBeLockedAgainAndItsUnlockSaysSo(t *testing.T) {
	t.Parallel()
	rows := map[string]func(t *testing.T, a, b *locker.Locker){
		"unlocked before this process can know": func(*testing.T, *locker.Locker, *locker.Locker) {},
		"locked again by this process":          func(t *testing.T, a, _ *locker.Locker) { untilLocked(t, a, keyName) },
		"locked by another":                     func(t *testing.T, _, b *locker.Locker) { lock(t, b, keyName) },
	}
	for name, then := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b, client, prefix := newPair(t)
			lock(t, a, keyName)
			revokeLeases(t, client, prefix)
			then(t, a, b)
			wantLost(t, a.Unlock(t.Context(), keyName), locker.LeaseExpired)
		})
	}
}

// revokeLeases revokes the leases of all locks under prefix.
func revokeLeases(tb testing.TB, client *clientv3.Client, prefix string) {
	tb.Helper()
	resp, err := client.Get(tb.Context(), "/"+prefix, clientv3.WithPrefix())
	if err != nil || len(resp.Kvs) == 0 {
		tb.Fatalf("no locks: %v, %v", resp, err)
	}
	for _, kv := range resp.Kvs {
		_, _ = client.Revoke(tb.Context(), clientv3.LeaseID(kv.Lease)) // several locks share one
	}
}
