package locker_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

var neighbour = keyspace.MustParse("neighbour")

// bubble runs f in virtual time, with an etcd in memory.
func bubble(t *testing.T, f func(t *testing.T, sim *etcdsim.Sim)) {
	synctest.Test(t, func(t *testing.T) {
		sim := etcdsim.New(1)
		t.Cleanup(sim.Close)
		f(t, sim)
	})
}

// silent is the fate of a request that etcd never gets, without a word to anybody.
var silent = etcdsim.Fate{Lose: etcdsim.Request, Hang: true}

func TestAReleaseTellsALossThatIsKnownThoughEtcdDoesNot(t *testing.T) {
	bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		l := newLocker(t, c.Client)
		h := acquire(t, l, key, locker.TTL(3*time.Second))
		c.SetPlan(func(call etcdsim.Call, _ *rand.Rand) etcdsim.Fate {
			switch call.Method {
			case "Txn":
				return etcdsim.Fate{Send: 3500 * time.Millisecond}
			case "LeaseKeepAlive", "LeaseTimeToLive":
				return silent
			}
			return etcdsim.Fate{}
		})
		wantLost(t, h.Release(t.Context()), locker.Deadline)
	})
}

func TestAReleaseAsksForItsLeaseUntilEtcdAnswers(t *testing.T) {
	bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		l := newLocker(t, c.Client)
		h := acquire(t, l, key)
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
		wantLost(t, h.Release(t.Context()), locker.LeaseExpired)
	})
}

func TestAnEvictionIsToldAsSuchAfterACompaction(t *testing.T) {
	bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		a, b := newLocker(t, sim.NewClient("a").Client), newLocker(t, sim.NewClient("b").Client)
		h := acquire(t, a, key)
		release(t, acquire(t, b, neighbour)) // the revision grows
		sim.Compact()
		if _, err := b.Evict(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		wantLost(t, h.Release(t.Context()), locker.Evicted)
	})
}

func TestALeaseOfWhichLessThanASecondIsLeftIsNotTakenForGone(t *testing.T) {
	bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		l := newLocker(t, c.Client)
		h, other := acquire(t, l, key, locker.TTL(4*time.Second)), acquire(t, l, neighbour, locker.TTL(4*time.Second))
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
		receive(t, h.Context().Done())
		wantLost(t, h.Err(), locker.KeyDeleted)
		wantErr(t, other.Err(), nil)
		release(t, other)
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
	bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		var opened atomic.Int64
		client := sim.NewClient("a").Client
		client.Watcher = deaf{client.Watcher, &opened}
		a, b := newLocker(t, client), newLocker(t, sim.NewClient("b").Client)
		h := acquire(t, b, key)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := a.Acquire(ctx, key)
		wantErr(t, err, context.DeadlineExceeded)
		release(t, h)
		time.Sleep(time.Minute)
		before := opened.Load()
		time.Sleep(time.Minute)
		if n := opened.Load() - before; n > 0 {
			t.Errorf("%d watches were opened in a minute", n)
		}
	})
}

func TestTheNextRenewalWaitsForNoLateWrites(t *testing.T) {
	bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		const ttl = 12 * time.Second
		c := sim.NewClient("a")
		l := newLocker(t, c.Client)
		var phase, renewals atomic.Int64
		acquire(t, l, key, locker.TTL(ttl))
		c.SetPlan(func(call etcdsim.Call, _ *rand.Rand) etcdsim.Fate {
			switch {
			case call.Method == "Txn" && phase.CompareAndSwap(0, 1): // is to be looked for
				return etcdsim.Fate{Lose: etcdsim.Request}
			case call.Method == "Txn" && phase.Load() == 2:
				return silent
			case call.Method == "LeaseKeepAlive" && call.Request != nil:
				renewals.Add(1)
			}
			return etcdsim.Fate{}
		})
		if _, err := l.Acquire(t.Context(), neighbour, locker.TTL(ttl)); err == nil {
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
	bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		l := newLocker(t, c.Client)
		outer := acquire(t, l, neighbour, locker.TTL(time.Hour))
		c.Partition()
		got := make(chan error, 1)
		go func() {
			_, err := l.Acquire(outer.Context(), key, locker.TTL(time.Hour))
			got <- err
		}()
		time.Sleep(100 * time.Millisecond)
		go func() { _ = outer.Release(context.Background()) }()
		select {
		case err := <-got:
			wantErr(t, err, locker.ErrReleased)
		case <-time.After(501 * time.Millisecond):
			t.Error("it goes on")
		}
		c.Heal()
	})
}

func TestAReleaseUnderAHoldThatWasReleasedBeforeIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		l := newLocker(t, c.Client)
		outer := acquire(t, l, neighbour)
		h, err := l.Acquire(outer.Context(), key)
		wantErr(t, err, nil)
		release(t, outer)
		c.Partition()
		began := time.Now()
		err = h.Release(outer.Context())
		if took := time.Since(began); took > 500*time.Millisecond || !errors.Is(err, locker.ErrReleased) {
			t.Errorf("got %v after %v", err, took)
		}
		c.Heal()
	})
}
