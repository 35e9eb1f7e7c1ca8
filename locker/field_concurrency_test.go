package locker_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// The tests in the files field_concurrency*_test.go are about failures that
// were met in etcd's own locks, client/v3/concurrency and the recipes. Each
// names the number of its failure.

var errNet = errors.New("test: network broken")

// An outcome is what an acquire returned.
type outcome struct {
	h   *locker.Hold
	err error
}

// acquiring acquires k on a goroutine.
func acquiring(ctx context.Context, l *locker.Locker, k keyspace.Key) <-chan outcome {
	c := make(chan outcome, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		h, err := l.Acquire(ctx, k)
		c <- outcome{h, err}
	}()
	return c
}

// granted waits for the hold of an acquire.
func granted(tb testing.TB, c <-chan outcome) *locker.Hold {
	tb.Helper()
	o := receive(tb, c)
	if o.err != nil {
		tb.Fatal(o.err)
	}
	return o.h
}

// wantWaiting fails the test if an acquire has returned.
func wantWaiting(tb testing.TB, c <-chan outcome) {
	tb.Helper()
	select {
	case o := <-c:
		tb.Fatalf("acquire returned %v, %v; want it to wait", o.h, o.err)
	default:
	}
}

// releaseHeld releases h, and fails the test unless h was alive until then, at
// home and in etcd, and kept rival out.
func releaseHeld(tb testing.TB, h *locker.Hold, rival *locker.Locker) {
	tb.Helper()
	if err := h.Err(); err != nil {
		tb.Fatalf("hold has ended: %v", err)
	}
	if _, err := rival.TryAcquire(context.Background(), h.Key()); !errors.Is(err, locker.ErrLocked) {
		tb.Fatalf("a rival's try gave %v, want ErrLocked", err)
	}
	release(tb, h) // ErrLost if its key is gone
}

// entryOf returns the name of the hold's entry in etcd.
func entryOf(h *locker.Hold) string {
	fence := h.Fence()
	return string(fence.KeyBytes())
}

// queue returns the entries of key in etcd, the holder first.
func queue(tb testing.TB, client *clientv3.Client, prefix string) []*mvccpb.KeyValue {
	tb.Helper()
	resp, err := client.Get(context.Background(), key.Path(prefix), clientv3.WithPrefix(),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	if err != nil {
		tb.Fatal(err)
	}
	return resp.Kvs
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// (concurrency 1) A delete commits and its answer is lost, the lock is taken
// again under the same lease, and then the old delete arrives once more.
func TestAStaleUnlockNeverDeletesAYoungerLock(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix := locker.WithPrefix(s.Prefix(t))
	var stale atomic.Pointer[call]
	a := newLocker(t, faulty(s.Client(t), &faults{after: func(_ context.Context, c call, err error) error {
		if c.kind == "delete" && c.wrote && stale.CompareAndSwap(nil, &c) {
			return errNet
		}
		return err
	}}), prefix)
	b := newLocker(t, s.Client(t), prefix)

	old := acquire(t, a, key)
	wantErr(t, old.Release(t.Context()), errNet)
	young := acquire(t, a, key)
	if entryOf(young) != entryOf(old) {
		t.Fatal("the locks have keys of their own; this test is about one key")
	}
	must(t, stale.Load().again())
	release(t, old)
	releaseHeld(t, young, b)
}

// (concurrency 2)
func TestATryLeavesAWaiterOfItsOwnProcessAlone(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	holder := acquire(t, b, key)
	waiter := acquiring(t.Context(), a, key)
	untilQueued(t, b, key, 2)
	entry := queue(t, client, prefix)[1]
	for range 3 {
		_, err := a.TryAcquire(t.Context(), key)
		wantErr(t, err, locker.ErrLocked)
	}
	if q := queue(t, client, prefix); len(q) != 2 || q[1].CreateRevision != entry.CreateRevision {
		t.Fatalf("the waiter's entry is not what it was: %v", q)
	}
	release(t, holder)
	releaseHeld(t, granted(t, waiter), b)
}

// (concurrency 3) While a waits, its entry is replaced by another of the same
// name, behind that of c. Then only c may hold.
func TestAWaiterKnowsItsOwnEntryFromAnotherOfTheSameName(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	c := newLocker(t, client, locker.WithPrefix(prefix))
	holder := acquire(t, b, key)
	waiter := acquiring(t.Context(), a, key)
	untilQueued(t, b, key, 2)
	next := acquiring(t.Context(), c, key)
	untilQueued(t, b, key, 3)

	entry := queue(t, client, prefix)[1]
	_, err := client.Delete(t.Context(), string(entry.Key))
	must(t, err)
	impostor, err := client.Put(t.Context(), string(entry.Key), "another", clientv3.WithLease(clientv3.LeaseID(entry.Lease)))
	must(t, err)
	release(t, holder)

	h := granted(t, next)
	until(t, "the waiter queues again", func() bool {
		wantWaiting(t, waiter)
		q := queue(t, client, prefix)
		return len(q) == 2 && q[1].CreateRevision > impostor.Header.Revision
	})
	releaseHeld(t, h, b)
	if last := granted(t, waiter); last.Token() <= h.Token() {
		t.Errorf("token %d after %d", last.Token(), h.Token())
	}
}

// (concurrency 7)
func TestALockNeverBlocksItsParentOrChild(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	parent, child := keyspace.MustParse("a"), keyspace.MustParse("a/b")
	for _, pair := range [][2]keyspace.Key{{parent, child}, {child, parent}} {
		held := acquire(t, a, pair[0])
		h, err := b.TryAcquire(t.Context(), pair[1])
		if err != nil {
			t.Fatalf("%v blocks %v: %v", pair[0], pair[1], err)
		}
		release(t, h)
		release(t, held)
	}
}

// (concurrency 7) Plain keys, without a lease, would block for ever.
func TestAPlainKeyInTheDirectoryBlocksNobody(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	plant := func(name string) {
		_, err := client.Put(t.Context(), key.Path(prefix)+name, "plain")
		must(t, err)
	}
	plant("")
	plant("before")
	h, err := a.TryAcquire(t.Context(), key)
	must(t, err)
	release(t, h)

	holder := acquire(t, a, key)
	plant("between")
	waiter := acquiring(t.Context(), b, key)
	untilQueued(t, a, key, 2)
	wantWaiting(t, waiter)
	plant("after")
	release(t, holder)
	releaseHeld(t, granted(t, waiter), a)
}

// (concurrency 8) Goroutines that share a Locker, and Lockers that share a
// client, hold one at a time.
func TestGoroutinesOfOneProcessExcludeEachOther(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	client, prefix := s.Client(t), locker.WithPrefix(s.Prefix(t))
	lockers := []*locker.Locker{newLocker(t, client, prefix), newLocker(t, client, prefix)}
	var inside atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 10 {
				err := lockers[i%2].RunInLock(t.Context(), key, func(context.Context, *locker.Hold) error {
					if n := inside.Add(1); n != 1 {
						t.Errorf("%d hold the lock", n)
					}
					inside.Add(-1)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// (concurrency 8)
func TestAReleaseNeverFreesAnotherGoroutinesHold(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	first := acquire(t, a, key)
	waiter := acquiring(t.Context(), a, key)
	_, err := a.TryAcquire(t.Context(), key)
	wantErr(t, err, locker.ErrLocked)
	wantWaiting(t, waiter)
	release(t, first)
	second := granted(t, waiter)
	release(t, first)
	releaseHeld(t, second, b)
}
