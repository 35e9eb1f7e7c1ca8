package etcdsim_test

import (
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/simtest"
)

func TestALeaseExpiresSoonerOnAFasterClock(t *testing.T) {
	for percent, want := range map[float64]time.Duration{0: 110 * time.Second, 10: 100 * time.Second} {
		simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
			c := sim.NewClient("a")
			lease, err := c.Grant(t.Context(), 110)
			if err != nil {
				t.Fatal(err)
			}
			sim.SetLeaseClock(percent)
			if _, err := c.Put(t.Context(), "k", "v", clientv3.WithLease(lease.ID)); err != nil {
				t.Fatal(err)
			}
			events := c.Watch(t.Context(), "k")
			start := time.Now()
			<-events
			if took := time.Since(start).Round(time.Millisecond); took != want {
				t.Errorf("%v%%: %v, want %v", percent, took, want)
			}
		})
	}
}

func TestAnExpiredLeaseThatIsNotYetRevokedCannotBeRenewed(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		sim.SetExpiryDelay(time.Second)
		c := sim.NewClient("a")
		lease, err := c.Grant(t.Context(), 5)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5*time.Second + time.Millisecond)
		ttl, err := c.TimeToLive(t.Context(), lease.ID)
		if err != nil || ttl.TTL != 0 {
			t.Errorf("time to live: %v, %v", ttl, err)
		}
		start := time.Now()
		if _, err := c.KeepAliveOnce(t.Context(), lease.ID); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			t.Errorf("renewal: %v", err)
		}
		if took := time.Since(start); took < 900*time.Millisecond {
			t.Errorf("the answer came after %v, before the lease was revoked", took)
		}
	})
}

func TestWithoutLeaderWritesWaitAndFail(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		sim.LoseLeader(10 * time.Second)
		start := time.Now()
		if _, err := c.Put(t.Context(), "k", "v"); !errors.Is(err, rpctypes.ErrTimeout) {
			t.Errorf("put: %v", err)
		}
		if took := time.Since(start); took < 7*time.Second || took > 8*time.Second {
			t.Errorf("it failed after %v", took)
		}
		if _, err := c.Put(clientv3.WithRequireLeader(t.Context()), "k", "v"); !errors.Is(err, rpctypes.ErrNoLeader) {
			t.Errorf("put that requires a leader: %v", err)
		}
		if _, err := c.Get(t.Context(), "k", clientv3.WithSerializable()); err != nil {
			t.Errorf("serializable read: %v", err)
		}
		if _, err := c.Put(t.Context(), "k", "v"); err != nil {
			t.Errorf("put that sees the next leader: %v", err)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("the next leader came after %v", took)
		}
	})
}

func TestWithoutLeaderWatchesThatRequireOneAreCancelled(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		strict := c.Watch(clientv3.WithRequireLeader(t.Context()), "k", clientv3.WithCreatedNotify())
		lax := c.Watch(t.Context(), "k", clientv3.WithCreatedNotify())
		<-strict
		<-lax
		sim.LoseLeader(time.Minute)
		start := time.Now()
		if resp := <-strict; !errors.Is(resp.Err(), rpctypes.ErrNoLeader) {
			t.Errorf("got %v", resp)
		}
		if took := time.Since(start); took < 3*time.Second || took > 4*time.Second {
			t.Errorf("after %v", took)
		}
		again := c.Watch(clientv3.WithRequireLeader(t.Context()), "k", clientv3.WithCreatedNotify())
		if resp := <-again; !errors.Is(resp.Err(), rpctypes.ErrNoLeader) {
			t.Errorf("a new one got %v", resp)
		}
		time.Sleep(time.Minute)
		if _, err := c.Put(t.Context(), "k", "v"); err != nil {
			t.Fatal(err)
		}
		if resp := <-lax; len(resp.Events) != 1 {
			t.Errorf("the other one got %v", resp)
		}
	})
}

func TestWithoutLeaderNoLeaseExpires(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		lease, err := c.Grant(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		sim.LoseLeader(time.Hour)
		time.Sleep(time.Hour + 9*time.Second)
		ttl, err := c.TimeToLive(t.Context(), lease.ID)
		if err != nil || ttl.TTL != 1 {
			t.Errorf("%v, %v", ttl, err)
		}
		time.Sleep(2 * time.Second)
		if ttl, err := c.TimeToLive(t.Context(), lease.ID); err != nil || ttl.TTL != -1 {
			t.Errorf("%v, %v", ttl, err)
		}
	})
}
