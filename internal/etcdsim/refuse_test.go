package etcdsim_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/simtest"
)

func TestARefusedCallChangesNothingUnlessItIsCarriedOut(t *testing.T) {
	for _, refusal := range []error{
		rpctypes.ErrGRPCRequestTooManyRequests, rpctypes.ErrGRPCTimeout, rpctypes.ErrGRPCTimeoutDueToLeaderFail,
		rpctypes.ErrGRPCTimeoutDueToConnectionLost, rpctypes.ErrGRPCLeaderChanged, rpctypes.ErrGRPCPermissionDenied,
	} {
		for _, carried := range []bool{false, true} {
			simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
				c := sim.NewClient("a")
				c.SetPlan(always("Put", etcdsim.Fate{Refuse: refusal, Carried: carried}))
				if _, err := c.Put(t.Context(), "k", "v"); !errors.Is(err, rpctypes.Error(refusal)) {
					t.Errorf("put: %v, want %v", err, refusal)
				}
				if n := count(t, c, "k"); (n == 1) != carried {
					t.Errorf("%v, carried out %v: the key is there %d times", refusal, carried, n)
				}
			})
		}
	}
}

func TestARefusalBreaksAStream(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		lease, err := c.Grant(t.Context(), 5)
		if err != nil {
			t.Fatal(err)
		}
		stream := renewals(t, c)
		c.SetPlan(always("LeaseKeepAlive", etcdsim.Fate{Refuse: rpctypes.ErrGRPCNoLeader}))
		if _, err := renew(stream, lease.ID); !errors.Is(err, rpctypes.ErrGRPCNoLeader) {
			t.Error(err)
		}
	})
}

func TestAStreamOfRenewalsKeepsLeases(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		stream := renewals(t, c)
		kept, err := c.Grant(t.Context(), 5)
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			time.Sleep(4 * time.Second)
			if resp, err := renew(stream, kept.ID); err != nil || resp.TTL != 5 {
				t.Fatal(resp, err)
			}
		}
		if resp, err := renew(stream, kept.ID+1); err != nil || resp.TTL != 0 {
			t.Errorf("a lease that does not exist: %v, %v", resp, err)
		}
		c.BreakStreams()
		if _, err := renew(stream, kept.ID); err == nil {
			t.Error("a broken stream answers")
		}
	})
}

// A streamer is a Lease as the locker looks for it, to keep one stream of renewals open.
type streamer interface {
	KeepAliveStream(ctx context.Context) (pb.Lease_LeaseKeepAliveClient, error)
}

type renewalStream = pb.Lease_LeaseKeepAliveClient

func renewals(t *testing.T, c *etcdsim.Client) renewalStream {
	t.Helper()
	stream, err := c.Lease.(streamer).KeepAliveStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// renew sends one request and takes its answer. An error of Send says only that Recv has one.
func renew(stream renewalStream, id clientv3.LeaseID) (*pb.LeaseKeepAliveResponse, error) {
	_ = stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(id)})
	return stream.Recv()
}

func TestTheRequestThatCrossesTheQuotaIsCarriedOutAndRefused(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		sim.CrossQuota()
		if _, err := c.Delete(t.Context(), "k"); err != nil {
			t.Errorf("a deletion needs no space: %v", err)
		}
		for n := range 2 {
			_, err := c.Txn(t.Context()).Then(clientv3.OpPut([]string{"k", "l"}[n], "v")).Commit()
			if !errors.Is(err, rpctypes.ErrNoSpace) {
				t.Errorf("transaction %d: %v", n, err)
			}
		}
		if k, l := count(t, c, "k"), count(t, c, "l"); k != 1 || l != 0 {
			t.Errorf("of the first and the second there are %d and %d", k, l)
		}
		sim.SetAlarm(pb.AlarmType_NOSPACE, false)
		if _, err := c.Put(t.Context(), "l", "v"); err != nil {
			t.Error(err)
		}
	})
}

func TestUnderTheCorruptAlarmNoLeaseExpires(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		lease, err := c.Grant(t.Context(), 5)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Put(t.Context(), "k", "v", clientv3.WithLease(lease.ID)); err != nil {
			t.Fatal(err)
		}
		sim.SetAlarm(pb.AlarmType_CORRUPT, true)
		time.Sleep(time.Minute)
		if count(t, c, "k") != 1 {
			t.Error("it expired")
		}
		sim.SetAlarm(pb.AlarmType_CORRUPT, false)
		time.Sleep(5 * time.Second)
		if count(t, c, "k") != 0 {
			t.Error("it did not expire after the alarm")
		}
	})
}

func TestLimitsAreThoseOfEtcd(t *testing.T) {
	real := etcdtest.StartOwn(t, "--max-txn-ops=4", "--max-request-bytes=4096").Client(t)
	sim := etcdsim.New(1)
	t.Cleanup(sim.Close)
	sim.SetLimits(4, 4096)
	puts := func(n int) (ops []clientv3.Op) {
		for i := range n {
			ops = append(ops, clientv3.OpPut(strings.Repeat("k", 1+i), "v"))
		}
		return ops
	}
	for name, c := range map[string]*clientv3.Client{"etcd": real, "model": sim.NewClient("model").Client} {
		t.Run(name, func(t *testing.T) {
			for ops, want := range map[int]error{4: nil, 5: rpctypes.ErrTooManyOps} {
				if _, err := c.Txn(t.Context()).Then(puts(ops)...).Commit(); !errors.Is(err, want) {
					t.Errorf("%d operations: %v, want %v", ops, err, want)
				}
			}
			for size, want := range map[int]error{4000: nil, 4200: rpctypes.ErrRequestTooLarge} {
				if _, err := c.Put(t.Context(), "k", strings.Repeat("v", size)); !errors.Is(err, want) {
					t.Errorf("%d bytes: %v, want %v", size, err, want)
				}
			}
		})
	}
}
