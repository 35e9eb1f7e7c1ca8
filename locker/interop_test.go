package locker_test

import (
	"testing"

	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

func TestAConcurrencyMutexAndALockOfOneSegmentExcludeEachOtherAndHandOver(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix, client := s.Prefix(t), s.Client(t)
	l := newLocker(t, s.Client(t), locker.WithPrefix(prefix))
	job := keyspace.MustParse("job")

	session, err := concurrency.NewSession(client)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	mutex := concurrency.NewMutex(session, "/"+prefix+"/job")
	ctx := t.Context()

	// elock holds: the mutex does not get it, waits, and is handed it.
	h := locktest.Acquire(t, l, job)
	locktest.WantErr(t, mutex.TryLock(ctx), concurrency.ErrLocked)
	locked := locktest.Async(t, func() error { return mutex.Lock(ctx) })
	locktest.UntilQueued(t, l, job, 2)
	q, err := l.Inspect(ctx, job)
	if err != nil {
		t.Fatal(err)
	}
	if q.Holders[0].Foreign || q.Holders[0].Token != h.Token() || !q.Waiters[0].Foreign {
		t.Errorf("got queue %+v", q)
	}
	locktest.Release(t, h)
	if err := locked(); err != nil {
		t.Fatal(err)
	}

	// The mutex holds: elock does not get it, waits, and is handed it.
	_, err = l.TryAcquire(ctx, job)
	locktest.WantErr(t, err, locker.ErrLocked)
	got := locktest.Async(t, func() *locker.Hold { return locktest.Acquire(t, l, job) })
	locktest.UntilQueued(t, l, job, 2)
	if err := mutex.Unlock(ctx); err != nil {
		t.Fatal(err)
	}
	younger := got()
	if younger.Token() <= h.Token() {
		t.Errorf("token %d after %d", younger.Token(), h.Token())
	}
	locktest.Release(t, younger)

	// A mutex can be evicted too.
	if err := mutex.Lock(ctx); err != nil {
		t.Fatal(err)
	}
	if ok, err := l.Evict(ctx, job); !ok || err != nil {
		t.Fatalf("Evict: %v, %v", ok, err)
	}
	locktest.Release(t, locktest.Acquire(t, l, job))
}

func TestAnUncontendedPairIsTwoWritesAndAFailingTryNone(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix := s.Prefix(t)
	var n counter
	l := newLocker(t, faulty(s.Client(t), &faults{after: n.after}), locker.WithPrefix(prefix))
	other := newLocker(t, s.Client(t), locker.WithPrefix(prefix))
	locktest.Release(t, locktest.Acquire(t, l, key)) // grants the lease

	calls, writes := n.calls.Load(), n.writes.Load()
	locktest.Release(t, locktest.Acquire(t, l, key))
	if c, w := n.calls.Load()-calls, n.writes.Load()-writes; c != 2 || w != 2 {
		t.Errorf("acquire and release: %d calls, %d writes; want 2 and 2", c, w)
	}

	h, err := l.TryAcquire(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	locktest.Release(t, h)
	if c, w := n.calls.Load()-calls, n.writes.Load()-writes; c != 4 || w != 4 {
		t.Errorf("with try and release: %d calls, %d writes; want 4 and 4", c, w)
	}

	held := locktest.Acquire(t, other, key)
	calls, writes = n.calls.Load(), n.writes.Load()
	_, err = l.TryAcquire(t.Context(), key)
	locktest.WantErr(t, err, locker.ErrLocked)
	if c, w := n.calls.Load()-calls, n.writes.Load()-writes; c != 1 || w != 0 {
		t.Errorf("failing try: %d calls, %d writes; want 1 and 0", c, w)
	}
	locktest.Release(t, held)
}
