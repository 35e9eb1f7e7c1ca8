package work

import (
	"context"
	"strconv"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/locker"
)

// Update is one process whose goroutines add one to numbers in etcd: to one, or each to a number of its own.
func Update(b *testing.B, s *Site, impl Impl, one bool, goroutines int) {
	p := impl.Open(b, s)
	members := make([]*member, goroutines)
	for i := range members {
		key := i
		if one {
			key = 0
		}
		members[i] = &member{next: always(p()(key))}
	}
	spread(b, s, members)
}

// An update is a Lock whose turn is one update, from beginning to end.
type update func(ctx context.Context) error

func (u update) Lock(ctx context.Context) error { return u(ctx) }
func (u update) Unlock(context.Context) error   { return nil }

// Guarded is a guard.Stored number.
func Guarded(name string, opts ...locker.Option) Impl { return guarded(name, opts) }

// Optimistic is a guard.Stored number with guard.Optimistic.
func Optimistic(name string) Impl { return guarded(name, nil, guard.Optimistic[int]()) }

func guarded(name string, opts []locker.Option, more ...guard.Option[int]) Impl {
	return withLocker(name, opts, func(l *locker.Locker) Worker {
		return func(key int) Lock {
			g := guard.New(l, names.Key(key), append(more, guard.Stored(guard.JSON[int]()))...)
			return update(func(ctx context.Context) error {
				_, err := g.Update(ctx, func(_ context.Context, n int) (int, error) { return n + 1, nil })
				return err
			})
		}
	})
}

// Locked is a number that is got and put under a lock of etcd's concurrency.Mutex, as one writes it by hand. Nothing keeps a
// late put from undoing a later one.
func Locked(name string, mutex Impl) Impl {
	return Impl{name, func(tb testing.TB, s *Site) Process {
		tb.Helper()
		kv := s.client(tb).KV
		workers := mutex.Open(tb, s)
		return func() Worker {
			worker := workers()
			return func(key int) Lock { return locked(worker(key), kv, s.path(name, key)+"-number") }
		}
	}}
}

func locked(lock Lock, kv clientv3.KV, name string) Lock {
	return update(func(ctx context.Context) error {
		if err := lock.Lock(ctx); err != nil {
			return err
		}
		n := 0
		resp, err := kv.Get(ctx, name)
		if err == nil && len(resp.Kvs) > 0 {
			n, err = strconv.Atoi(string(resp.Kvs[0].Value))
		}
		if err == nil {
			_, err = kv.Put(ctx, name, strconv.Itoa(n+1))
		}
		if err != nil {
			return err
		}
		return lock.Unlock(ctx)
	})
}

// Transactional is a number that is updated by etcd's concurrency.NewSTM, without a lock: it is tried again until no other
// has come between.
func Transactional(name string) Impl {
	return Impl{name, func(tb testing.TB, s *Site) Process {
		tb.Helper()
		client := s.client(tb)
		return func() Worker {
			return func(key int) Lock {
				path := s.path(name, key)
				return update(func(ctx context.Context) error {
					_, err := concurrency.NewSTM(client, func(stm concurrency.STM) error {
						n, _ := strconv.Atoi(stm.Get(path)) // "" is 0
						stm.Put(path, strconv.Itoa(n+1))
						return nil
					}, concurrency.WithAbortContext(ctx))
					return err
				})
			}
		}
	}}
}
