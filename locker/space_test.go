package locker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// fill puts values until etcd has no space, and returns what makes space again.
func fill(t *testing.T, client *clientv3.Client) (clear func()) {
	t.Helper()
	asRoot := func(f func(context.Context, *clientv3.Client) error) {
		t.Helper()
		if err := etcdtest.AsRoot(client, f); err != nil {
			t.Fatal(err)
		}
	}
	value := strings.Repeat("x", 1<<20)
	var rev int64
	asRoot(func(ctx context.Context, client *clientv3.Client) error {
		for {
			resp, err := client.Put(ctx, "filler", value)
			if errors.Is(err, rpctypes.ErrNoSpace) {
				return nil
			}
			if err != nil {
				return err
			}
			rev = resp.Header.Revision
		}
	})
	return func() {
		t.Helper()
		asRoot(func(ctx context.Context, client *clientv3.Client) error {
			_, err1 := client.Compact(ctx, rev)
			_, err2 := client.Delete(ctx, "filler")
			_, err3 := client.Defragment(ctx, client.Endpoints()[0])
			_, err4 := client.AlarmDisarm(ctx, &clientv3.AlarmMember{})
			return errors.Join(err1, err2, err3, err4)
		})
	}
}

func TestWithoutSpaceWhatFreesLocksGoesThrough(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.StartOwn(t, "--quota-backend-bytes=16777216")
	client := etcd.Client(t)
	l, other := newLocker(t, client, locker.WithTTL(4*time.Second)), newLocker(t, etcd.Client(t))
	space := keyspace.MustNew[int]("n")
	var held []*locker.Hold
	for i := range 20 {
		held = append(held, locktest.Acquire(t, l, space.Key(i)))
	}
	locktest.Release(t, locktest.Acquire(t, other, neighbour)) // it has a lease
	waiter := locktest.Async(t, func() error {
		h, err := other.Acquire(t.Context(), space.Key(0))
		return errors.Join(err, h.Release(t.Context()))
	})
	locktest.UntilQueued(t, other, space.Key(0), 2)
	local := locktest.Async(t, func() error { // the release for whom is a put, too
		_, err := l.Acquire(t.Context(), space.Key(1))
		return err
	})
	locktest.Until(t, "a goroutine waits", func() bool { return locker.Waiting(l, space.Key(1)) == 1 })

	clear := fill(t, client)
	if _, err := other.Acquire(t.Context(), neighbour); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("got error %v, want %v", err, rpctypes.ErrNoSpace)
	}
	if done, err := held[2].Commit(t.Context(), nil, clientv3.OpPut(space.Key(2).ValuePath("elock"), "v")); done || !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("commit: %v, %v", done, err)
	}
	if had, err := other.Evict(t.Context(), space.Key(3)); !had || err != nil {
		t.Errorf("evict: %v, %v", had, err)
	}
	locktest.Receive(t, held[3].Context().Done())
	together := make([]func() error, 0, len(held))
	for i, h := range held {
		if i != 2 && i != 3 {
			together = append(together, locktest.Async(t, func() error { return h.Release(t.Context()) }))
		}
	}
	for _, err := range together {
		locktest.WantErr(t, err(), nil)
	}
	locktest.WantErr(t, waiter(), nil) // its entry was there already
	if err := local(); err != nil && !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("the goroutine that waited: %v", err)
	}
	clear()
	for i := 2; i < len(held); i++ {
		locktest.Release(t, locktest.Acquire(t, other, space.Key(i)))
	}
}

// The transactions that delete also put: a successor for a goroutine that waits, and the turn of the next in a long queue.
func TestWithoutSpaceADeletionGoesThroughWhoeverFollows(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.StartOwn(t, "--quota-backend-bytes=16777216")
	client := etcd.Client(t)
	k := keyspace.MustParse("long")
	var lockers []*locker.Locker
	var holds []func() *locker.Hold
	for i := range 12 { // ten are more than a waiter near the head of the queue knows
		l := newLocker(t, client)
		lockers = append(lockers, l)
		holds = append(holds, locktest.Async(t, func() *locker.Hold {
			h, err := l.Acquire(t.Context(), k)
			if err != nil {
				t.Error(err)
			}
			return h
		}))
		locktest.UntilQueued(t, l, k, i+1)
	}
	for i := range 9 {
		locktest.Release(t, holds[i]())
	}
	far := holds[9]()
	near := locktest.Acquire(t, lockers[0], neighbour)
	local := locktest.Async(t, func() error {
		_, err := lockers[0].Acquire(t.Context(), neighbour)
		return err
	})
	locktest.Until(t, "a goroutine waits", func() bool { return locker.Waiting(lockers[0], neighbour) == 1 })
	for _, k := range []keyspace.Key{k, neighbour} {
		_, err := client.Put(t.Context(), k.ValuePath("elock"), "v")
		locktest.Must(t, err)
	}

	clear := fill(t, client)
	for _, h := range []*locker.Hold{far, near} {
		value := h.Key().ValuePath("elock")
		if done, err := h.Commit(t.Context(), nil, clientv3.OpDelete(value)); !done || err != nil {
			t.Errorf("%v: %v, %v", h.Key(), done, err)
		}
		if resp, err := client.Get(t.Context(), value); err != nil || len(resp.Kvs) > 0 {
			t.Errorf("%v is there, or unread: %v", value, err)
		}
	}
	for _, h := range holds[10:] {
		locktest.Release(t, h())
	}
	if err := local(); err != nil && !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("the goroutine that waited: %v", err)
	}
	clear()
}
