package locker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

func TestADeletedKeyEndsItsHoldAndNoOther(t *testing.T) {
	t.Parallel()
	// A few holds have a watch each, many share one: both must notice.
	for name, n := range map[string]int{"a few holds": 4, "many holds": 40} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b, client, prefix := newPair(t)
			space := keyspace.MustNew[int]("n")
			var held []*locker.Hold
			for i := range n {
				held = append(held, locktest.Acquire(t, a, space.Key(i)))
			}
			old := held[n-1]
			if _, err := client.Delete(t.Context(), old.Key().Path(prefix), clientv3.WithPrefix()); err != nil {
				t.Fatal(err)
			}
			locktest.Receive(t, old.Context().Done()) // when it is found missing
			locktest.WantLost(t, context.Cause(old.Context()), locker.ReasonKeyDeleted)
			locktest.WantLost(t, old.Err(), locker.ReasonKeyDeleted)
			locktest.WantLost(t, old.Release(t.Context()), locker.ReasonKeyDeleted)

			watched := held[0]
			if _, err := b.Evict(t.Context(), watched.Key()); err != nil {
				t.Fatal(err)
			}
			locktest.Receive(t, watched.Context().Done())
			locktest.WantLost(t, context.Cause(watched.Context()), locker.ReasonEvicted)
			locktest.Release(t, locktest.Acquire(t, a, watched.Key()))

			for _, h := range held[1 : n-1] {
				if err := h.Err(); err != nil {
					t.Fatal(err)
				}
				locktest.Release(t, h)
			}
		})
	}
}

func TestAnEvictionBeforeTheKeyIsWatchedIsKnownByItsReason(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	h := locktest.Acquire(t, a, key)
	if ok, err := b.Evict(t.Context(), key); !ok || err != nil {
		t.Fatalf("Evict: %v, %v", ok, err)
	}
	younger := locktest.Acquire(t, b, key)
	locktest.Receive(t, h.Context().Done())
	locktest.WantLost(t, context.Cause(h.Context()), locker.ReasonEvicted)

	again := locktest.Async(t, func() *locker.Hold { return locktest.Acquire(t, a, key) })
	locktest.UntilQueued(t, b, key, 2)
	locktest.Release(t, younger)
	h = again()
	if _, err := b.Evict(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	locktest.WantLost(t, h.Release(t.Context()), locker.ReasonEvicted)

	ok, err := b.Evict(t.Context(), key)
	if ok || err != nil {
		t.Errorf("Evict of a free lock: %v, %v", ok, err)
	}
}

func TestADeletionIsNoticedAlthoughWatchesBreak(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix, client := s.Prefix(t), s.Client(t)
	var watches atomic.Int64
	f := &faults{before: func(_ context.Context, c call) error {
		if c.kind == "watch" && watches.Add(1) < 4 {
			return errLate
		}
		return nil
	}}
	l := newLocker(t, faulty(client, f), locker.WithPrefix(prefix))
	h := locktest.Acquire(t, l, key)
	locktest.Until(t, "the key is watched", func() bool { return watches.Load() >= 4 })
	if _, err := client.Delete(t.Context(), key.Path(prefix), clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	locktest.Receive(t, h.Context().Done())
	locktest.WantLost(t, h.Err(), locker.ReasonKeyDeleted)
}

func TestAHoldWhoseKeyIsWrittenOverByHandIsLost(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	h := locktest.Acquire(t, a, key)
	resp, err := client.Get(t.Context(), key.Path(prefix), clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	// A put without the lease takes the key off it: to others it is no entry.
	if _, err := client.Put(t.Context(), string(resp.Kvs[0].Key), "note"); err != nil {
		t.Fatal(err)
	}
	locktest.Receive(t, h.Context().Done())
	locktest.WantLost(t, h.Err(), locker.ReasonKeyDeleted)
	locktest.Release(t, locktest.Acquire(t, b, key))
	locktest.Release(t, locktest.Acquire(t, a, key))
}

func TestAWaiterWhoseKeyIsDeletedQueuesAgain(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	held := locktest.Acquire(t, a, key)
	got := locktest.Async(t, func() *locker.Hold { return locktest.Acquire(t, b, key) })
	locktest.UntilQueued(t, a, key, 2)
	q, err := client.Get(t.Context(), key.Path(prefix), clientv3.WithLastCreate()...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Delete(t.Context(), string(q.Kvs[0].Key)); err != nil {
		t.Fatal(err)
	}
	locktest.UntilQueued(t, a, key, 1)
	locktest.Release(t, held)
	locktest.Release(t, got())
}

func TestHoldsAreCheckedOnAServerThatTakesFewOperations(t *testing.T) {
	t.Parallel()
	client := etcdtest.StartOwn(t, "--max-txn-ops=8").Client(t)
	l := newLocker(t, client, locker.WithTTL(time.Minute))
	space := keyspace.MustNew[int]("few")
	var holds []*locker.Hold
	for i := range 40 {
		holds = append(holds, locktest.Acquire(t, l, space.Key(i)))
	}
	for _, h := range holds { // before they are watched
		_, err := client.Delete(t.Context(), h.Key().Path(locker.DefaultPrefix), clientv3.WithPrefix())
		locktest.Must(t, err)
	}
	for _, h := range holds {
		locktest.Receive(t, h.Context().Done())
	}
}

func TestAFreeLockWhoseNameWasWrittenByHandIsAcquiredWithAYoungerToken(t *testing.T) {
	t.Parallel()
	a, _, client, prefix := newPair(t)
	h := locktest.Acquire(t, a, key)
	locktest.Release(t, h)
	q := locktest.Acquire(t, a, key)
	resp, err := client.Get(t.Context(), key.Path(prefix), clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	locktest.Release(t, q)
	for _, take := range []func() (anyHold, error){
		func() (anyHold, error) { return a.Acquire(t.Context(), key) },
		func() (anyHold, error) { return a.TryAcquire(t.Context(), key) },
		func() (anyHold, error) { return a.AcquireAll(t.Context(), []keyspace.Key{key, neighbour}) },
	} {
		if _, err := client.Put(t.Context(), string(resp.Kvs[0].Key), "note"); err != nil {
			t.Fatal(err)
		}
		before := locktest.Acquire(t, a, neighbour)
		locktest.Release(t, before)
		h, err := take()
		locktest.WantErr(t, err, nil)
		if got := tokens(h)[key]; got <= before.Token() {
			t.Errorf("token %d, want more than %d", got, before.Token())
		}
		locktest.Release(t, h)
	}
}

func TestATryWhoseAnswerIsLostGetsNoOldTokenByANameThatWasWrittenByHand(t *testing.T) {
	t.Parallel()
	_, b, client, prefix := newPair(t)
	var br breaker
	a := newLocker(t, faulty(client, losing(true, errAnswer, br.next)), locker.WithPrefix(prefix))
	h := locktest.Acquire(t, a, key)
	resp, err := client.Get(t.Context(), key.Path(prefix), clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	locktest.Release(t, h)
	if _, err := client.Put(t.Context(), string(resp.Kvs[0].Key), "note"); err != nil {
		t.Fatal(err)
	}
	before := locktest.Acquire(t, b, neighbour)
	locktest.Release(t, before)
	br.armed.Store(true)
	again, err := a.TryAcquire(t.Context(), key)
	locktest.WantErr(t, err, nil)
	if again.Token() <= before.Token() {
		t.Errorf("token %d, want more than %d", again.Token(), before.Token())
	}
	locktest.Release(t, again)
}
