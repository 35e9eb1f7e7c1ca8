package etcdsim_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

var key = keyspace.MustParse("billing/account/42")

func newLocker(t *testing.T, c *etcdsim.Client) *locker.Locker {
	t.Helper()
	l, err := locker.New(c.Client, locker.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestALockIsHeldAndReleased(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		a, b := newLocker(t, sim.NewClient("a")), newLocker(t, sim.NewClient("b"))
		h, err := a.Acquire(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.TryAcquire(t.Context(), key); !errors.Is(err, locker.ErrLocked) {
			t.Errorf("a second owner: %v", err)
		}
		if err := h.Release(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := b.TryAcquire(t.Context(), key); err != nil {
			t.Error(err)
		}
	})
}

func TestAWaiterGetsTheLockWhenItIsReleased(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		a, b := newLocker(t, sim.NewClient("a")), newLocker(t, sim.NewClient("b"))
		h, err := a.Acquire(t.Context(), key, locker.MaxHeld(0))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		time.AfterFunc(10*time.Hour, func() { h.Release(context.Background()) })
		next, err := b.Acquire(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(start); waited != 10*time.Hour {
			t.Errorf("waited %v", waited)
		}
		if next.Token() <= h.Token() {
			t.Errorf("token %d after %d", next.Token(), h.Token())
		}
	})
}

func TestAnOwnerThatIsCutOffLosesTheLockBeforeTheNextGetsIt(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		away := sim.NewClient("a")
		a, b := newLocker(t, away), newLocker(t, sim.NewClient("b"))
		h, err := a.Acquire(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		away.Partition()
		defer away.Heal()
		start := time.Now()
		if _, err := b.Acquire(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(start); waited > locker.DefaultTTL+time.Second {
			t.Errorf("waited %v", waited)
		}
		if !errors.Is(h.Err(), locker.ErrLost) {
			t.Errorf("the first still believes: %v", h.Err())
		}
	})
}

func TestAnEvictedOwnerLearnsOfIt(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		a, b := newLocker(t, sim.NewClient("a")), newLocker(t, sim.NewClient("b"))
		h, err := a.Acquire(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if _, err := b.Evict(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		<-h.Context().Done()
		if took := time.Since(start); took > time.Second {
			t.Errorf("it took %v", took)
		}
		var lost *locker.LostError
		if !errors.As(h.Err(), &lost) || lost.Reason != locker.ReasonEvicted {
			t.Errorf("lost: %v", h.Err())
		}
	})
}

func TestNothingIsLeftAfterClose(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		l := newLocker(t, c)
		if _, err := l.Acquire(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour / 2)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		keys, err := c.Get(t.Context(), "\x00", clientv3.WithFromKey())
		if err != nil {
			t.Fatal(err)
		}
		leases, err := c.Leases(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if keys.Count != 0 || len(leases.Leases) != 0 {
			t.Errorf("left: %v %v", keys.Kvs, leases.Leases)
		}
	})
}

func TestItWorksInRealTime(t *testing.T) {
	sim := etcdsim.New(1)
	t.Cleanup(sim.Close)
	a, b := newLocker(t, sim.NewClient("a")), newLocker(t, sim.NewClient("b"))
	for range 100 {
		for _, l := range []*locker.Locker{a, b} {
			h, err := l.Acquire(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			if err := h.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestLocksStayExclusiveUnderFaults(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			sim := etcdsim.New(seed)
			t.Cleanup(sim.Close)
			sim.SetPlan(etcdsim.Faults{
				MaxDelay:    100 * time.Millisecond,
				LoseRequest: 0.05,
				LoseAnswer:  0.05,
				Late:        0.5,
				MaxLate:     5 * time.Second,
				Hang:        0.3,
			}.Plan())
			sim.SetLeaseClock(5)
			var (
				wg   sync.WaitGroup
				mu   sync.Mutex
				last locker.Token
				held int
			)
			holder := make(map[*locker.Hold]bool)
			rng := rand.New(rand.NewPCG(seed, 0))
			for i := range 3 {
				c := sim.NewClient(string(rune('a' + i)))
				l := newLocker(t, c)
				away := time.Duration(rng.Int64N(int64(time.Minute)))
				wg.Go(func() {
					time.Sleep(away)
					c.Partition()
					time.Sleep(30 * time.Second)
					c.Heal()
				})
				wg.Go(func() {
					for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); {
						h, err := l.Acquire(t.Context(), key)
						if err != nil {
							continue
						}
						mu.Lock()
						for other := range holder {
							if other.Err() == nil && h.Err() == nil {
								t.Errorf("seed %d: two holders", seed)
							}
						}
						if h.Token() <= last {
							t.Errorf("seed %d: token %d after %d", seed, h.Token(), last)
						}
						last = h.Token()
						holder[h] = true
						held++
						mu.Unlock()
						select {
						case <-time.After(time.Second):
						case <-h.Context().Done():
						}
						mu.Lock()
						delete(holder, h)
						mu.Unlock()
						h.Release(t.Context())
					}
				})
			}
			wg.Wait()
			if held < 3 {
				t.Errorf("seed %d: only %d holds", seed, held)
			}
		})
	}
}
