package locker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// taken counts the slots that are held, and fails the test if they are more than n.
type taken struct {
	n         int64
	now, most atomic.Int64
}

func (c *taken) add(tb testing.TB, weight int) {
	now := c.now.Add(int64(weight))
	if now > c.n {
		tb.Errorf("%d of %d slots are held", now, c.n)
	}
	for most := c.most.Load(); now > most && !c.most.CompareAndSwap(most, now); most = c.most.Load() {
	}
}

func TestNoMoreHoldThanThereAreSlots(t *testing.T) {
	t.Parallel()
	const n, goroutines, rounds = 8, 64, 10
	for name, heaviest := range map[string]int{"one slot each": 1, "up to three each": 3} {
		for _, handoff := range []time.Duration{0, locker.DefaultHandoff} {
			t.Run(fmt.Sprint(name, ", handed on for ", handoff), func(t *testing.T) {
				t.Parallel()
				a, b, client, prefix := newPair(t, locker.WithHandoff(handoff))
				all := []*locker.Locker{a, b, newLocker(t, client, locker.WithPrefix(prefix), locker.WithHandoff(handoff))}
				c := taken{n: n}
				var tokens sync.Map
				var wg sync.WaitGroup
				for i := range goroutines {
					wg.Go(func() {
						for range rounds {
							weight := 1 + rand.IntN(heaviest)
							h, err := all[i%len(all)].Acquire(context.Background(), key, locker.Slots(n), locker.Weight(weight))
							if err != nil {
								t.Error(err)
								return
							}
							c.add(t, weight)
							if _, twice := tokens.LoadOrStore(h.Token(), true); twice || h.Err() != nil || h.Slots() != n {
								t.Errorf("%v, again: %v, of %d slots: %v", h, twice, h.Slots(), h.Err())
							}
							time.Sleep(time.Duration(rand.IntN(int(2 * time.Millisecond)))) // it works
							c.now.Add(int64(-weight))
							locktest.CheckErr(t, h.Release(context.Background()))
						}
					})
				}
				wg.Wait()
				if most := c.most.Load(); most < n-int64(heaviest) {
					t.Errorf("never more than %d of %d slots were held", most, n)
				}
				locktest.UntilQueued(t, a, key, 0)
				locktest.Release(t, locktest.Acquire(t, a, key, locker.Slots(n), locker.Weight(n)))
			})
		}
	}
}

var _ = []any{errors.New, slices.Sort[[]int], strings.Cut, clientv3.New, concurrency.NewMutex, etcdtest.Start, keyspace.Parse}
