package etcdsim_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/simtest"
)

// always gives every call of a method the same fate.
func always(method string, f etcdsim.Fate) etcdsim.Plan {
	return func(call etcdsim.Call, _ *rand.Rand) etcdsim.Fate {
		if call.Method == method {
			return f
		}
		return etcdsim.Fate{}
	}
}

func count(t *testing.T, c *etcdsim.Client, key string) int64 {
	t.Helper()
	resp, err := c.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Count
}

func TestALostRequestChangesNothing(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		c.SetPlan(always("Put", etcdsim.Fate{Lose: etcdsim.Request}))
		if _, err := c.Put(t.Context(), "k", "v"); status.Code(err) != codes.Unavailable {
			t.Errorf("put: %v", err)
		}
		if count(t, c, "k") != 0 {
			t.Error("it was carried out")
		}
	})
}

func TestALostAnswerHidesAWrite(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		c.SetPlan(always("Put", etcdsim.Fate{Lose: etcdsim.Answer}))
		if _, err := c.Put(t.Context(), "k", "v"); status.Code(err) != codes.Unavailable {
			t.Errorf("put: %v", err)
		}
		if count(t, c, "k") != 1 {
			t.Error("it was not carried out")
		}
	})
}

func TestALateRequestIsCarriedOutAfterItFailed(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		c.SetPlan(always("Put", etcdsim.Fate{Lose: etcdsim.Request, Late: time.Minute}))
		if _, err := c.Put(t.Context(), "k", "v"); status.Code(err) != codes.Unavailable {
			t.Errorf("put: %v", err)
		}
		if count(t, c, "k") != 0 {
			t.Error("it was carried out at once")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if count(t, c, "k") != 1 {
			t.Error("it was not carried out")
		}
	})
}

func TestALossThatNobodyIsToldOfEndsWithTheContext(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		c.SetPlan(always("Put", etcdsim.Fate{Lose: etcdsim.Request, Hang: true}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		start := time.Now()
		if _, err := c.Put(ctx, "k", "v"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("put: %v", err)
		}
		if took := time.Since(start); took != time.Hour {
			t.Errorf("took %v", took)
		}
	})
}

func TestACallTakesItsTimeOnTheWay(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		c.SetPlan(always("Put", etcdsim.Fate{Send: time.Second, Reply: 2 * time.Second}))
		start := time.Now()
		if _, err := c.Put(t.Context(), "k", "v"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestAGivenUpRequestOnItsWayArrives(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		c.SetPlan(always("Put", etcdsim.Fate{Send: 2 * time.Second}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Put(ctx, "k", "v"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("put: %v", err)
		}
		time.Sleep(time.Minute)
		if count(t, c, "k") != 1 {
			t.Error("it did not arrive")
		}
	})
}

func TestACutOffClientHearsNothingUntilItIsHealed(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		away, home := sim.NewClient("away"), sim.NewClient("home")
		events := away.Watch(t.Context(), "k", clientv3.WithCreatedNotify())
		<-events
		away.Partition()
		if _, err := home.Put(t.Context(), "k", "v"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := away.Get(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("get: %v", err)
		}
		select {
		case resp := <-events:
			t.Errorf("got %v", resp)
		default:
		}
		away.Heal()
		if resp := <-events; len(resp.Events) != 1 {
			t.Errorf("after healing: %v", resp)
		}
		if count(t, away, "k") != 1 {
			t.Error("no answer after healing")
		}
	})
}

func TestAPauseHoldsBackWhatIsSentAndReceived(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		start := time.Now()
		c.Pause(time.Minute)
		c.Pause(2 * time.Minute)
		count(t, c, "k")
		if took := time.Since(start); took != 2*time.Minute {
			t.Errorf("took %v", took)
		}
	})
}

func TestABrokenWatchIsResumedWithoutLoss(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		watching, writing := sim.NewClient("watching"), sim.NewClient("writing")
		events := watching.Watch(t.Context(), "k", clientv3.WithCreatedNotify())
		<-events
		const n = 100
		var writer sync.WaitGroup
		defer writer.Wait()
		writer.Go(func() {
			for i := range n {
				writing.Put(t.Context(), "k", fmt.Sprint(i))
				if i%10 == 0 {
					sim.BreakWatches()
				}
				time.Sleep(30 * time.Millisecond)
			}
		})
		for i := 0; i < n; {
			for _, ev := range (<-events).Events {
				if string(ev.Kv.Value) != fmt.Sprint(i) {
					t.Errorf("event %d is of %s", i, ev.Kv.Value)
				}
				i++
			}
		}
	})
}

func TestAKeptLeaseLivesThroughBrokenStreams(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		lease, err := c.Grant(t.Context(), 5)
		if err != nil {
			t.Fatal(err)
		}
		alive, err := c.KeepAlive(t.Context(), lease.ID)
		if err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(time.Hour); time.Now().Before(end); {
			if _, ok := <-alive; !ok {
				t.Fatal("the lease was given up")
			}
			c.BreakStreams()
		}
		c.Partition()
		for range alive {
		}
	})
}

func TestEveryCommitIsObservedInOrder(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		var seen []string
		sim.OnCommit(func(rev int64, events []*mvccpb.Event) {
			for _, ev := range events {
				seen = append(seen, fmt.Sprintf("%d %v %s was %s", rev, ev.Type, ev.Kv.Key, ev.PrevKv.GetValue()))
			}
		})
		c := sim.NewClient("a")
		lease, err := c.Grant(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		c.Put(t.Context(), "k", "v", clientv3.WithLease(lease.ID))
		c.Put(t.Context(), "k", "w", clientv3.WithLease(lease.ID))
		c.Put(t.Context(), "l", "x", clientv3.WithLease(lease.ID))
		time.Sleep(time.Minute)
		want := []string{"2 PUT k was ", "3 PUT k was v", "4 PUT l was ", "5 DELETE k was w", "5 DELETE l was x"}
		if rev := sim.Revision(); rev != 5 || !slices.Equal(seen, want) {
			t.Errorf("got %q, want %q", seen, want)
		}
	})
}

func TestCallsEndWithTheCluster(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		c.Partition()
		time.AfterFunc(time.Minute, sim.Close)
		if _, err := c.Get(t.Context(), "k"); status.Code(err) != codes.Canceled {
			t.Errorf("get: %v", err)
		}
	})
}
