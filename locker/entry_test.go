package locker_test

import (
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

func TestEntry(t *testing.T) {
	t.Parallel()
	t.Run("of a waiter, while its process tries", aTryLeavesAWaiterOfItsOwnProcessAlone)
	t.Run("another under its name", aWaiterKnowsItsOwnEntryFromAnotherOfTheSameName)
	t.Run("of a parent or child", aLockNeverBlocksItsParentOrChild)
	t.Run("a plain key beside it", aPlainKeyInTheDirectoryBlocksNobody)
}

func aTryLeavesAWaiterOfItsOwnProcessAlone(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	holder := locktest.Acquire(t, b, key)
	waiter := acquiring(t.Context(), a, key)
	locktest.UntilQueued(t, b, key, 2)
	entry := queue(t, client, prefix)[1]
	for range 3 {
		_, err := a.TryAcquire(t.Context(), key)
		locktest.WantErr(t, err, locker.ErrLocked)
	}
	if q := queue(t, client, prefix); len(q) != 2 || q[1].CreateRevision != entry.CreateRevision {
		t.Fatalf("the waiter's entry is not what it was: %v", q)
	}
	locktest.Release(t, holder)
	releaseHeld(t, granted(t, waiter), b)
}

// While a waits, its entry is replaced by another of the same
// name, behind that of c. Then only c may hold.
func aWaiterKnowsItsOwnEntryFromAnotherOfTheSameName(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	c := newLocker(t, client, locker.WithPrefix(prefix))
	holder := locktest.Acquire(t, b, key)
	waiter := acquiring(t.Context(), a, key)
	locktest.UntilQueued(t, b, key, 2)
	next := acquiring(t.Context(), c, key)
	locktest.UntilQueued(t, b, key, 3)

	entry := queue(t, client, prefix)[1]
	_, err := client.Delete(t.Context(), string(entry.Key))
	locktest.Must(t, err)
	impostor, err := client.Put(t.Context(), string(entry.Key), "another", clientv3.WithLease(clientv3.LeaseID(entry.Lease)))
	locktest.Must(t, err)
	locktest.Release(t, holder)

	h := granted(t, next)
	locktest.Until(t, "the waiter queues again", func() bool {
		wantWaiting(t, waiter)
		q := queue(t, client, prefix)
		return len(q) == 2 && q[1].CreateRevision > impostor.Header.Revision
	})
	releaseHeld(t, h, b)
	if last := granted(t, waiter); last.Token() <= h.Token() {
		t.Errorf("token %d after %d", last.Token(), h.Token())
	}
}

func aLockNeverBlocksItsParentOrChild(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	parent, child := keyspace.MustParse("a"), keyspace.MustParse("a/b")
	for _, pair := range [][2]keyspace.Key{{parent, child}, {child, parent}} {
		held := locktest.Acquire(t, a, pair[0])
		h, err := b.TryAcquire(t.Context(), pair[1])
		if err != nil {
			t.Fatalf("%v blocks %v: %v", pair[0], pair[1], err)
		}
		locktest.Release(t, h)
		locktest.Release(t, held)
	}
}

// Plain keys, without a lease, would block for ever.
func aPlainKeyInTheDirectoryBlocksNobody(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	plant := func(name string) {
		_, err := client.Put(t.Context(), key.Path(prefix)+name, "plain")
		locktest.Must(t, err)
	}
	plant("")
	plant("before")
	h, err := a.TryAcquire(t.Context(), key)
	locktest.Must(t, err)
	locktest.Release(t, h)

	holder := locktest.Acquire(t, a, key)
	plant("between")
	waiter := acquiring(t.Context(), b, key)
	locktest.UntilQueued(t, a, key, 2)
	wantWaiting(t, waiter)
	plant("after")
	locktest.Release(t, holder)
	releaseHeld(t, granted(t, waiter), a)
}
