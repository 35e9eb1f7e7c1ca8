package work

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/locker"
)

// Slots is several processes, with some goroutines each, that all want one of so many slots of one lock.
func Slots(b *testing.B, s *Site, impl Impl, slots, processes, goroutines int) {
	spread(b, s, contendForSlots(b, s, impl, slots, processes, goroutines))
}

// ExcludeFromSlots fails the test if more hold one lock than there are slots.
func ExcludeFromSlots(t *testing.T, s *Site, impl Impl, slots, processes, goroutines int) {
	t.Helper()
	exclude(t, contendForSlots(t, s, impl, slots, processes, goroutines))
}

func contendForSlots(tb testing.TB, s *Site, impl Impl, slots, processes, goroutines int) []*member {
	tb.Helper()
	members := contend(tb, s, impl, processes, goroutines)
	members[0].crowd.slots = int32(slots)
	return members
}

// ElockSlots is a Locker for each process, and its option Slots.
func ElockSlots(name string, slots int, opts ...locker.Option) Impl {
	return withLocker(name, opts, func(l *locker.Locker) Worker {
		return func(key int) Lock {
			return &elockLock{locker: l, key: names.Key(key), opts: []locker.AcquireOption{locker.Slots(slots)}}
		}
	})
}

// CountSlots is the semaphore that somebody writes by hand: a key for each slot that is taken, under one session for each
// process. It lists the keys, and puts its own if they are fewer than the slots and none came meanwhile. Otherwise it waits for
// the deletion of one, and tries again.
func CountSlots(name string, slots int) Impl { return countSlots(name, slots, (*slotLock).watch) }

// PollSlots is CountSlots which sleeps for a while instead of watching, as clients of Redis do.
func PollSlots(name string, slots int, pause time.Duration) Impl {
	return countSlots(name, slots, func(l *slotLock, ctx context.Context, _ int64) error {
		select {
		case <-time.After(pause/2 + rand.N(pause)):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

func countSlots(name string, slots int, wait func(l *slotLock, ctx context.Context, rev int64) error) Impl {
	return Impl{name, func(tb testing.TB, s *Site) Process {
		tb.Helper()
		client := s.client(tb)
		session := newSession(tb, client)
		workers := 0
		return func() Worker {
			workers++
			own := fmt.Sprintf("%x-%d", session.Lease(), workers)
			return func(key int) Lock {
				dir := s.path(name, key) + "/"
				return &slotLock{client: client, lease: session.Lease(), slots: slots, dir: dir, own: dir + own, wait: wait}
			}
		}
	}}
}

type slotLock struct {
	client   *clientv3.Client
	lease    clientv3.LeaseID
	slots    int
	dir, own string
	wait     func(l *slotLock, ctx context.Context, rev int64) error
}

func (l *slotLock) Lock(ctx context.Context) error {
	for {
		taken, err := l.client.Get(ctx, l.dir, clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			return err
		}
		if int(taken.Count) >= l.slots {
			if err := l.wait(l, ctx, taken.Header.Revision+1); err != nil {
				return err
			}
			continue
		}
		nobodyCame := clientv3.Compare(clientv3.CreateRevision(l.dir).WithPrefix(), "<", taken.Header.Revision+1)
		put, err := l.client.Txn(ctx).If(nobodyCame).Then(clientv3.OpPut(l.own, "", clientv3.WithLease(l.lease))).Commit()
		if err != nil || put.Succeeded {
			return err
		}
	}
}

// watch waits until a slot was given back after the revision rev.
func (l *slotLock) watch(ctx context.Context, rev int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for resp := range l.client.Watch(ctx, l.dir, clientv3.WithPrefix(), clientv3.WithFilterPut(), clientv3.WithRev(rev)) {
		if err := resp.Err(); err != nil || len(resp.Events) > 0 {
			return err
		}
	}
	return ctx.Err()
}

func (l *slotLock) Unlock(ctx context.Context) error {
	_, err := l.client.Delete(ctx, l.own)
	return err
}
