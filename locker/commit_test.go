package locker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// put is a transaction's write of the value that a lock guards.
func put(prefix string, k keyspace.Key, value string) clientv3.Op {
	return clientv3.OpPut(k.ValuePath(prefix), value)
}

// valueOf returns what the lock of k guards, "" for nothing.
func valueOf(tb testing.TB, client *clientv3.Client, prefix string, k keyspace.Key) string {
	tb.Helper()
	resp, err := client.Get(context.Background(), k.ValuePath(prefix))
	if err != nil {
		tb.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return ""
	}
	return string(resp.Kvs[0].Value)
}

func TestACommitWritesAndReleasesInOneTransaction(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	h := locktest.Acquire(t, a, key)
	before, err := client.Get(t.Context(), key.ValuePath(prefix))
	if err != nil {
		t.Fatal(err)
	}
	ok, err := h.Commit(t.Context(), nil, put(prefix, key, "mine"))
	if !ok || err != nil {
		t.Fatalf("got %v, %v", ok, err)
	}
	locktest.WantErr(t, h.Err(), locker.ErrReleased)
	locktest.WantErr(t, h.Release(t.Context()), nil)
	after, err := client.Get(t.Context(), key.ValuePath(prefix))
	if err != nil || len(after.Kvs) != 1 || string(after.Kvs[0].Value) != "mine" {
		t.Fatalf("got %v, %v", after, err)
	}
	if wrote := after.Header.Revision - before.Header.Revision; wrote < 1 {
		t.Errorf("%d revisions", wrote)
	}
	locktest.Release(t, locktest.Acquire(t, b, key))
	if ok, err := h.Commit(t.Context(), nil, put(prefix, key, "again")); ok || !errors.Is(err, locker.ErrReleased) {
		t.Errorf("a second Commit: %v, %v", ok, err)
	}
	if got := valueOf(t, client, prefix, key); got != "mine" {
		t.Errorf("the value is %q", got)
	}
}

func TestACommitWhoseComparisonFailsWritesNothingAndReleases(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	h := locktest.Acquire(t, a, key)
	ok, err := h.Commit(t.Context(), []clientv3.Cmp{clientv3.Compare(clientv3.Version(key.ValuePath(prefix)), "=", 5)}, put(prefix, key, "mine"))
	if ok || err != nil {
		t.Fatalf("got %v, %v", ok, err)
	}
	if got := valueOf(t, client, prefix, key); got != "" {
		t.Errorf("the value is %q", got)
	}
	locktest.Release(t, locktest.Acquire(t, b, key))
}

func TestACommitOfALostLockWritesNothing(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	for name, lose := range map[string]func(h *locker.Hold) error{
		"evicted": func(*locker.Hold) error { _, err := b.Evict(t.Context(), key); return err },
		"deleted": func(*locker.Hold) error {
			_, err := client.Delete(t.Context(), key.Path(prefix), clientv3.WithPrefix())
			return err
		},
	} {
		h := locktest.Acquire(t, a, key)
		if err := lose(h); err != nil {
			t.Fatal(err)
		}
		ok, err := h.Commit(t.Context(), nil, put(prefix, key, name))
		if ok || !errors.Is(err, locker.ErrLost) {
			t.Errorf("%s: got %v, %v", name, ok, err)
		}
		if got := valueOf(t, client, prefix, key); got != "" {
			t.Errorf("%s: the value is %q", name, got)
		}
		locktest.Release(t, locktest.Acquire(t, b, key))
	}
}

func TestACommitThatEtcdRefusesReleasesTheLock(t *testing.T) {
	t.Parallel()
	a, b, _, prefix := newPair(t)
	for _, size := range []int{2_000_000, 5_000_000} { // above etcd's limit, and above its client's
		h := locktest.Acquire(t, a, key)
		ok, err := h.Commit(t.Context(), nil, put(prefix, key, strings.Repeat("x", size)))
		if ok || err == nil || errors.Is(err, locker.ErrOutcomeUnknown) {
			t.Errorf("%d bytes: got %v, %v", size, ok, err)
		}
		locktest.Release(t, locktest.Acquire(t, b, key))
	}
}

// A lost answer is resolved, whether the transaction was carried out or not,
// alone or with others who wait for the lock in this process.
func TestACommitWhoseAnswerIsLostIsResolved(t *testing.T) {
	t.Parallel()
	for _, carriedOut := range []bool{false, true} {
		for _, how := range []string{"alone", "one waits", "one waits, late in the term", "all", "retained", "compacted"} {
			t.Run(fmt.Sprintf("carried out=%v, %s", carriedOut, how), func(t *testing.T) {
				t.Parallel()
				var armed atomic.Bool
				server := etcdtest.Start(t)
				if how == "compacted" {
					server = etcdtest.StartOwn(t).Server // other tests want their history
				}
				_, b, client, prefix := newPairOn(t, server)
				lose := losing(carriedOut, errors.New("test: lost"), func(c call) bool {
					if c.kind == "read" || c.kind == "get" || !armed.CompareAndSwap(true, false) {
						return false
					}
					if how == "compacted" {
						compact(t, server.Root(t), prefix)
					}
					return true
				})
				var opts []locker.Option
				switch how {
				case "one waits":
					opts = append(opts, locker.WithHandoff(100*time.Millisecond))
				case "one waits, late in the term":
					opts = append(opts, locker.WithHandoff(0))
				case "retained":
					opts = append(opts, locker.WithRetain(time.Minute))
				}
				a := newLocker(t, faulty(client, lose), append(opts, locker.WithPrefix(prefix), locker.WithoutBatching())...)
				reading := locker.ReadKeys(key.ValuePath(prefix))
				var h anyHold
				if how == "all" {
					all, err := a.AcquireAll(t.Context(), []keyspace.Key{key, keyspace.MustParse("space/other")}, reading)
					locktest.WantErr(t, err, nil)
					h = all
				} else {
					h = locktest.Acquire(t, a, key, reading)
				}
				next := func() error { return nil }
				if strings.HasPrefix(how, "one waits") {
					blocked := make(chan struct{})
					next = locktest.Async(t, func() error {
						close(blocked)
						h, err := a.Acquire(t.Context(), key, locker.ReadKeys(key.ValuePath(prefix)))
						if err != nil {
							return err
						}
						saw := ""
						if kv := h.Read()[0]; kv != nil {
							saw = string(kv.Value)
						}
						if want := map[bool]string{true: "mine"}[carriedOut]; saw != want {
							return fmt.Errorf("the next one read %q, want %q", saw, want)
						}
						return h.Release(t.Context())
					})
					<-blocked
					locktest.Until(t, "it waits", func() bool { return locker.Waiting(a, key) == 1 })
				}
				armed.Store(true)
				ok, err := h.Commit(t.Context(), nil, put(prefix, key, "mine"))
				if how == "compacted" && carriedOut { // others may have written the same
					locktest.WantErr(t, err, locker.ErrOutcomeUnknown)
					return
				}
				if ok != carriedOut || carriedOut != (err == nil) || errors.Is(err, locker.ErrOutcomeUnknown) {
					t.Fatalf("got %v, %v", ok, err)
				}
				if armed.Load() {
					t.Fatal("nothing was lost")
				}
				locktest.WantErr(t, next(), nil)
				if got := valueOf(t, client, prefix, key); got != map[bool]string{true: "mine"}[carriedOut] {
					t.Errorf("the value is %q", got)
				}
				for k := range tokens(h) {
					locktest.Release(t, locktest.Acquire(t, b, k))
				}
			})
		}
	}
}

func TestACommitThatMayComeLateIsKnownNotToBeCarriedOut(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	var armed atomic.Bool
	late := &faults{late: func(c call) <-chan struct{} {
		if c.kind != "read" && c.kind != "get" && armed.CompareAndSwap(true, false) {
			return gate
		}
		return nil
	}}
	_, b, client, prefix := newPair(t)
	a := newLocker(t, faulty(client, late), locker.WithPrefix(prefix), locker.WithoutBatching())
	h := locktest.Acquire(t, a, key)
	armed.Store(true)
	if ok, err := h.Commit(t.Context(), nil, put(prefix, key, "late")); ok || err == nil || errors.Is(err, locker.ErrOutcomeUnknown) {
		t.Fatalf("got %v, %v", ok, err)
	}
	close(gate)
	locktest.Release(t, locktest.Acquire(t, b, key)) // the gate's transaction is behind or ahead of this
	locktest.Release(t, locktest.Acquire(t, b, key))
	if got := valueOf(t, client, prefix, key); got != "" {
		t.Errorf("the value is %q", got)
	}
}

func TestACommitIsOfUnknownOutcomeOnlyWhenEtcdStaysSilent(t *testing.T) {
	t.Parallel()
	var cut atomic.Bool
	silent := &faults{before: func(ctx context.Context, c call) error {
		if cut.Load() {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}}
	_, b, client, prefix := newPair(t)
	a := newLocker(t, faulty(client, silent), locker.WithPrefix(prefix))
	h := locktest.Acquire(t, a, key)
	cut.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	ok, err := h.Commit(ctx, nil, put(prefix, key, "mine"))
	if ok {
		t.Error("carried out")
	}
	locktest.WantErr(t, err, locker.ErrOutcomeUnknown, context.DeadlineExceeded)
	cut.Store(false)
	locktest.Release(t, locktest.Acquire(t, b, key))
}

func TestWhoWaitsReadsWhatWasCommittedBeforeIt(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]locker.Option{
		"handed off":  nil,
		"no hand-off": {locker.WithHandoff(0)},
		"unbatched":   {locker.WithoutBatching()},
		"retained":    {locker.WithRetain(time.Minute)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const each, n = 25, 8
			a, b, client, prefix := newPair(t, opts...)
			path := key.ValuePath(prefix)
			one := func(l *locker.Locker) error {
				h, err := l.Acquire(t.Context(), key, locker.ReadKeys(path))
				if err != nil {
					return err
				}
				var n, mod int64
				if kv := h.Read()[0]; kv != nil {
					mod = kv.ModRevision
					if _, err := fmt.Sscan(string(kv.Value), &n); err != nil {
						return err
					}
				}
				ok, err := h.Commit(t.Context(), []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(path), "=", mod)},
					put(prefix, key, fmt.Sprint(n+1)))
				if !ok || err != nil {
					return fmt.Errorf("commit: %v, %w", ok, err)
				}
				return nil
			}
			var all []func() error
			for i := range n {
				l := []*locker.Locker{a, b}[i%2]
				all = append(all, locktest.Async(t, func() error {
					for range each {
						if err := one(l); err != nil {
							return err
						}
					}
					return nil
				}))
			}
			for _, done := range all {
				locktest.WantErr(t, done(), nil)
			}
			if got := valueOf(t, client, prefix, key); got != fmt.Sprint(each*n) {
				t.Errorf("the value is %s, want %d", got, each*n)
			}
		})
	}
}

func TestAReadComesWithTheGrantAndCostsNothing(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	count := &faults{before: func(_ context.Context, c call) error {
		if c.kind != "grant" && c.kind != "renew" {
			calls.Add(1)
		}
		return nil
	}}
	_, _, client, prefix := newPair(t)
	a := newLocker(t, faulty(client, count), locker.WithPrefix(prefix))
	path := key.ValuePath(prefix)
	for i := range 3 {
		calls.Store(0)
		h := locktest.Acquire(t, a, key, locker.ReadKeys(path, "/"+prefix+"-absent"))
		if kvs := h.Read(); len(kvs) != 2 || (kvs[0] == nil) != (i == 0) || kvs[1] != nil {
			t.Errorf("read %v", kvs)
		}
		if ok, err := h.Commit(t.Context(), nil, put(prefix, key, "x")); !ok || err != nil {
			t.Fatalf("got %v, %v", ok, err)
		}
		if n := calls.Load(); n != 2 {
			t.Errorf("%d calls, want 2", n)
		}
	}
	h := locktest.Acquire(t, a, key)
	if kvs := h.Read(); kvs != nil {
		t.Errorf("read %v without ReadKeys", kvs)
	}
	locktest.Release(t, h)
}

func TestABadReadingIsRefused(t *testing.T) {
	t.Parallel()
	a, _, _, _ := newPair(t)
	for _, names := range [][]string{{""}, make([]string, 40)} {
		for i := range names[1:] {
			names[i] = "x"
		}
		_, err := a.TryAcquire(t.Context(), key, locker.ReadKeys(names...))
		locktest.WantErr(t, err, locker.ErrInvalidOption)
	}
}

// The context of a function ends with its hold, which a commit ends.
func TestACommitUnderTheContextOfItsFunctionHasTimeToBeAnswered(t *testing.T) {
	t.Parallel()
	var armed atomic.Bool
	slow := &faults{before: func(ctx context.Context, c call) error {
		if !armed.CompareAndSwap(true, false) {
			return nil
		}
		select {
		case <-time.After(1200 * time.Millisecond): // longer than what is left after the end of a context
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
	_, b, client, prefix := newPair(t)
	a := newLocker(t, faulty(client, slow), locker.WithPrefix(prefix))
	err := a.RunInLock(t.Context(), key, func(ctx context.Context, h *locker.Hold) error {
		armed.Store(true)
		ok, err := h.Commit(ctx, nil, put(prefix, key, "mine"))
		if err == nil && !ok {
			return errors.New("not carried out")
		}
		return err
	})
	locktest.WantErr(t, err, nil)
	if got := valueOf(t, client, prefix, key); got != "mine" {
		t.Errorf("the value is %q", got)
	}
	locktest.Release(t, locktest.Acquire(t, b, key))
}
