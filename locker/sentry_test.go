package locker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
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
				held = append(held, acquire(t, a, space.Key(i)))
			}
			old := held[n-1]
			if _, err := client.Delete(t.Context(), old.Key().Path(prefix), clientv3.WithPrefix()); err != nil {
				t.Fatal(err)
			}
			receive(t, old.Context().Done()) // when it is found missing
			wantLost(t, context.Cause(old.Context()), locker.KeyDeleted)
			wantLost(t, old.Release(t.Context()), locker.KeyDeleted)

			watched := held[0]
			if _, err := b.Evict(t.Context(), watched.Key()); err != nil {
				t.Fatal(err)
			}
			receive(t, watched.Context().Done())
			wantLost(t, context.Cause(watched.Context()), locker.Evicted)
			release(t, acquire(t, a, watched.Key()))

			for _, h := range held[1 : n-1] {
				if err := h.Err(); err != nil {
					t.Fatal(err)
				}
				release(t, h)
			}
		})
	}
}

func TestAnEvictionBeforeTheKeyIsWatchedIsKnownByItsReason(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	h := acquire(t, a, key)
	if ok, err := b.Evict(t.Context(), key); !ok || err != nil {
		t.Fatalf("Evict: %v, %v", ok, err)
	}
	younger := acquire(t, b, key)
	receive(t, h.Context().Done())
	wantLost(t, context.Cause(h.Context()), locker.Evicted)

	again := async(t, func() *locker.Hold { return acquire(t, a, key) })
	untilQueued(t, b, key, 2)
	release(t, younger)
	h = again()
	if _, err := b.Evict(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	wantLost(t, h.Release(t.Context()), locker.Evicted)

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
	h := acquire(t, l, key)
	until(t, "the key is watched", func() bool { return watches.Load() == 4 })
	if _, err := client.Delete(t.Context(), key.Path(prefix), clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	receive(t, h.Context().Done())
	wantLost(t, h.Err(), locker.KeyDeleted)
}

func TestAHoldWhoseKeyIsWrittenOverByHandIsLost(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	h := acquire(t, a, key)
	resp, err := client.Get(t.Context(), key.Path(prefix), clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	// A put without the lease takes the key off it: to others it is no entry.
	if _, err := client.Put(t.Context(), string(resp.Kvs[0].Key), "note"); err != nil {
		t.Fatal(err)
	}
	receive(t, h.Context().Done())
	wantLost(t, h.Err(), locker.KeyDeleted)
	release(t, acquire(t, b, key))
	release(t, acquire(t, a, key))
}

func TestAWaiterWhoseKeyIsDeletedQueuesAgain(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	held := acquire(t, a, key)
	got := async(t, func() *locker.Hold { return acquire(t, b, key) })
	untilQueued(t, a, key, 2)
	q, err := client.Get(t.Context(), key.Path(prefix), clientv3.WithLastCreate()...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Delete(t.Context(), string(q.Kvs[0].Key)); err != nil {
		t.Fatal(err)
	}
	untilQueued(t, a, key, 1)
	release(t, held)
	release(t, got())
}

func TestHoldsAreCheckedOnAServerThatTakesFewOperations(t *testing.T) {
	t.Parallel()
	client := etcdtest.StartOwn(t, "--max-txn-ops=8").Client(t)
	l := newLocker(t, client, locker.WithTTL(time.Minute))
	space := keyspace.MustNew[int]("few")
	var holds []*locker.Hold
	for i := range 40 {
		holds = append(holds, acquire(t, l, space.Key(i)))
	}
	for _, h := range holds { // before they are watched
		_, err := client.Delete(t.Context(), h.Key().Path(locker.DefaultPrefix), clientv3.WithPrefix())
		must(t, err)
	}
	for _, h := range holds {
		receive(t, h.Context().Done())
	}
}

func TestAFreeLockWhoseNameWasWrittenByHandIsAcquiredWithAYoungerToken(t *testing.T) {
	t.Parallel()
	a, _, client, prefix := newPair(t)
	h := acquire(t, a, key)
	release(t, h)
	q := acquire(t, a, key)
	resp, err := client.Get(t.Context(), key.Path(prefix), clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	release(t, q)
	for _, take := range []func() (*locker.Hold, error){
		func() (*locker.Hold, error) { return a.Acquire(t.Context(), key) },
		func() (*locker.Hold, error) { return a.TryAcquire(t.Context(), key) },
		func() (*locker.Hold, error) { return a.AcquireAll(t.Context(), key, neighbour) },
	} {
		if _, err := client.Put(t.Context(), string(resp.Kvs[0].Key), "note"); err != nil {
			t.Fatal(err)
		}
		before := acquire(t, a, neighbour)
		release(t, before)
		h, err := take()
		wantErr(t, err, nil)
		if got := h.Tokens()[key]; got <= before.Token() {
			t.Errorf("token %d, want more than %d", got, before.Token())
		}
		release(t, h)
	}
}

func TestATryWhoseAnswerIsLostGetsNoOldTokenByANameThatWasWrittenByHand(t *testing.T) {
	t.Parallel()
	_, b, client, prefix := newPair(t)
	var br breaker
	a := newLocker(t, faulty(client, losing(true, errAnswer, br.next)), locker.WithPrefix(prefix))
	h := acquire(t, a, key)
	resp, err := client.Get(t.Context(), key.Path(prefix), clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	release(t, h)
	if _, err := client.Put(t.Context(), string(resp.Kvs[0].Key), "note"); err != nil {
		t.Fatal(err)
	}
	before := acquire(t, b, neighbour)
	release(t, before)
	br.armed.Store(true)
	again, err := a.TryAcquire(t.Context(), key)
	wantErr(t, err, nil)
	if again.Token() <= before.Token() {
		t.Errorf("token %d, want more than %d", again.Token(), before.Token())
	}
	release(t, again)
}
