package locker_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

var neighbour = keyspace.MustParse("neighbour")

// silent is the fate of a request that never reaches etcd and is not answered.
var silent = etcdsim.Fate{Lose: etcdsim.Request, Hang: true}

func TestAReleaseTellsALossThatIsKnownThoughEtcdDoesNot(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		l := newLocker(t, c.Client)
		h := locktest.Acquire(t, l, key, locker.TTL(3*time.Second))
		c.SetPlan(func(call etcdsim.Call, _ *rand.Rand) etcdsim.Fate {
			switch call.Method {
			case "Txn":
				return etcdsim.Fate{Send: 3500 * time.Millisecond}
			case "LeaseKeepAlive", "LeaseTimeToLive":
				return silent
			}
			return etcdsim.Fate{}
		})
		locktest.WantLost(t, h.Release(t.Context()), locker.ReasonDeadline)
	})
}

func TestAReleaseAsksForItsLeaseUntilEtcdAnswers(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		l := newLocker(t, c.Client)
		h := locktest.Acquire(t, l, key)
		var asked atomic.Int64
		c.SetPlan(func(call etcdsim.Call, _ *rand.Rand) etcdsim.Fate {
			if call.Method == "LeaseTimeToLive" && asked.Add(1) < 4 {
				return silent
			}
			return etcdsim.Fate{}
		})
		resp, err := c.Get(t.Context(), key.Path(locker.DefaultPrefix), clientv3.WithPrefix())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Revoke(t.Context(), clientv3.LeaseID(resp.Kvs[0].Lease)); err != nil {
			t.Fatal(err)
		}
		locktest.WantLost(t, h.Release(t.Context()), locker.ReasonLeaseExpired)
	})
}

func TestAnEvictionIsToldAsSuchAfterACompaction(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		a, b := newLocker(t, sim.NewClient("a").Client), newLocker(t, sim.NewClient("b").Client)
		h := locktest.Acquire(t, a, key)
		locktest.Release(t, locktest.Acquire(t, b, neighbour)) // the revision grows
		sim.Compact()
		if _, err := b.Evict(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		locktest.WantLost(t, h.Release(t.Context()), locker.ReasonEvicted)
	})
}

func TestALeaseOfWhichLessThanASecondIsLeftIsNotTakenForGone(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		l := newLocker(t, c.Client)
		h, other := locktest.Acquire(t, l, key, locker.TTL(4*time.Second)), locktest.Acquire(t, l, neighbour, locker.TTL(4*time.Second))
		var cut atomic.Bool
		cut.Store(true)
		c.SetPlan(func(call etcdsim.Call, _ *rand.Rand) etcdsim.Fate {
			if cut.Load() && call.Method == "LeaseKeepAlive" {
				return silent
			}
			return etcdsim.Fate{}
		})
		time.Sleep(3200 * time.Millisecond)
		if _, err := sim.NewClient("operator").Delete(t.Context(), key.Path(locker.DefaultPrefix), clientv3.WithPrefix()); err != nil {
			t.Fatal(err)
		}
		cut.Store(false)
		locktest.Receive(t, h.Context().Done())
		locktest.WantLost(t, h.Err(), locker.ReasonKeyDeleted)
		locktest.WantErr(t, other.Err(), nil)
		locktest.Release(t, other)
	})
}

// deaf is a Watcher whose watches end at once.
type deaf struct {
	clientv3.Watcher
	opened *atomic.Int64
}

func (w deaf) Watch(context.Context, string, ...clientv3.OpOption) clientv3.WatchChan {
	w.opened.Add(1)
	ended := make(chan clientv3.WatchResponse)
	close(ended)
	return ended
}

func TestNobodyWatchesALockThatNobodyWaitsForThoughWatchesFail(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		var opened atomic.Int64
		client := sim.NewClient("a").Client
		client.Watcher = deaf{client.Watcher, &opened}
		a, b := newLocker(t, client), newLocker(t, sim.NewClient("b").Client)
		h := locktest.Acquire(t, b, key)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := a.Acquire(ctx, key)
		locktest.WantErr(t, err, context.DeadlineExceeded)
		locktest.Release(t, h)
		time.Sleep(time.Minute)
		before := opened.Load()
		time.Sleep(time.Minute)
		if n := opened.Load() - before; n > 0 {
			t.Errorf("%d watches were opened in a minute", n)
		}
	})
}

func TestTheNextRenewalWaitsForNoLateWrites(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		const ttl = 12 * time.Second
		c := sim.NewClient("a")
		l := newLocker(t, c.Client)
		var phase, renewals atomic.Int64
		locktest.Acquire(t, l, key, locker.TTL(ttl))
		c.SetPlan(func(call etcdsim.Call, _ *rand.Rand) etcdsim.Fate {
			switch {
			case call.Method == "Txn" && phase.CompareAndSwap(0, 1): // is to be looked for
				return silent
			case call.Method == "Txn" && phase.Load() == 2:
				return silent
			case call.Method == "LeaseKeepAlive" && call.Request != nil:
				renewals.Add(1)
			}
			return etcdsim.Fate{}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if _, err := l.Acquire(ctx, neighbour, locker.TTL(ttl)); err == nil {
			t.Fatal("the write was not lost")
		}
		time.Sleep(time.Second)
		phase.Store(2)
		time.Sleep(ttl)
		if n := renewals.Load(); n != 3 {
			t.Errorf("%d renewals in %v, want 3", n, ttl)
		}
	})
}

func TestAnAcquireUnderAHoldEndsSoonAfterItsRelease(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		l := newLocker(t, c.Client)
		outer := locktest.Acquire(t, l, neighbour, locker.TTL(time.Hour))
		c.Partition()
		got := make(chan error, 1)
		go func() {
			_, err := l.Acquire(outer.Context(), key, locker.TTL(time.Hour))
			got <- err
		}()
		time.Sleep(100 * time.Millisecond)
		released := locktest.Async(t, func() error { return outer.Release(context.Background()) })
		select {
		case err := <-got:
			locktest.WantErr(t, err, locker.ErrReleased)
		case <-time.After(501 * time.Millisecond):
			t.Error("it goes on")
		}
		c.Heal()
		locktest.WantErr(t, released(), nil)
	})
}

func TestAReleaseUnderAHoldThatWasReleasedBeforeIsBounded(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		l := newLocker(t, c.Client)
		outer := locktest.Acquire(t, l, neighbour)
		h, err := l.Acquire(outer.Context(), key)
		locktest.WantErr(t, err, nil)
		locktest.Release(t, outer)
		c.Partition()
		began := time.Now()
		err = h.Release(outer.Context())
		if took := time.Since(began); took > 500*time.Millisecond || !errors.Is(err, locker.ErrReleased) {
			t.Errorf("got %v after %v", err, took)
		}
		c.Heal()
	})
}
