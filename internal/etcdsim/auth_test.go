package etcdsim_test

import (
	"context"
	"errors"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/simtest"
)

func TestATokenLivesFromItsLastUseUnlessItIsFixed(t *testing.T) {
	for fixed, want := range map[bool]int{false: 1, true: 7} {
		simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
			sim.RequireTokens(10*time.Second, fixed)
			c := sim.NewClient("a")
			for range 61 {
				count(t, c, "k")
				time.Sleep(time.Second)
			}
			if n := c.Logins(); n != want {
				t.Errorf("fixed %v: %d logins, want %d", fixed, n, want)
			}
		})
	}
}

func TestADeadTokenCostsAUnaryCallOneLogin(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		sim.RequireTokens(time.Minute, false)
		c := sim.NewClient("a")
		for n := 1; n <= 3; n++ {
			sim.ExpireTokens()
			if _, err := c.Put(t.Context(), "k", "v"); err != nil {
				t.Error(err)
			}
			if c.Logins() != n {
				t.Errorf("%d logins after %d dead tokens", c.Logins(), n)
			}
		}
		sim.RequireTokens(0, false)
		if _, err := c.Put(t.Context(), "k", "v"); err != nil || c.Logins() != 3 {
			t.Errorf("without authentication: %v, %d logins", err, c.Logins())
		}
	})
}

func TestALoginHasAFateOfItsOwn(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		sim.RequireTokens(time.Minute, false)
		c := sim.NewClient("a")
		c.SetPlan(always("Authenticate", etcdsim.Fate{Lose: etcdsim.Request, Hang: true}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := c.Get(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// All watches of a client with equal metadata share a stream, and with it a token.
func TestAWatchBesideOneOfADeadTokenIsRefused(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		sim.RequireTokens(3*time.Second, false)
		c := sim.NewClient("a")
		old := c.Watch(t.Context(), "k", clientv3.WithCreatedNotify())
		<-old
		time.Sleep(4 * time.Second)
		resp, ok := <-c.Watch(t.Context(), "k", clientv3.WithCreatedNotify())
		if err := resp.Err(); !ok || !resp.Canceled || err == nil {
			t.Errorf("a new watch: %v, %v", resp, err)
		}
		if _, err := c.Put(t.Context(), "k", "v"); err != nil {
			t.Fatal(err)
		}
		if resp := <-old; len(resp.Events) != 1 {
			t.Errorf("the old watch: %v", resp)
		}
		c.BreakStreams()
		if resp := <-c.Watch(t.Context(), "k", clientv3.WithCreatedNotify()); resp.Err() != nil {
			t.Errorf("a watch on a new stream: %v", resp.Err())
		}
	})
}

func TestStreamsOfADeadTokenAreAsInEtcd(t *testing.T) {
	server := etcdtest.StartOwn(t, "--auth-token-ttl=2")
	enableAuth(t, server.Client(t))
	sim := etcdsim.New(1)
	t.Cleanup(sim.Close)
	sim.RequireTokens(2*time.Second, false)
	login := func(cfg *clientv3.Config) { cfg.Username, cfg.Password = "root", "root" }
	for name, conn := range map[string]grpc.ClientConnInterface{
		"etcd":  server.Client(t, login).ActiveConnection(),
		"model": sim.NewClient("model").Conn(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kv, leases := pb.NewKVClient(conn), pb.NewLeaseClient(conn)
			lease, err := leases.LeaseGrant(t.Context(), &pb.LeaseGrantRequest{TTL: 60})
			if err != nil {
				t.Fatal(err)
			}
			alive, err := leases.LeaseKeepAlive(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			watches, err := pb.NewWatchClient(conn).Watch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if resp := createWatch(t, watches, "old"); resp.Canceled {
				t.Fatalf("the first watch: %v", resp)
			}
			// Each use of a simple token gives it its full life.
			for range 5 {
				time.Sleep(time.Second)
				if resp, err := renew(alive, clientv3.LeaseID(lease.ID)); err != nil || resp.TTL != 60 {
					t.Fatalf("renewal: %v, %v", resp, err)
				}
			}
			time.Sleep(4 * time.Second) // etcd looks for dead tokens once a second
			resp := createWatch(t, watches, "new")
			if want := rpctypes.ErrGRPCInvalidAuthToken.Error(); !resp.Created || !resp.Canceled || resp.WatchId != -1 || resp.CancelReason != want {
				t.Errorf("a watch: %v, want %q", resp, want)
			}
			if _, err := renew(alive, clientv3.LeaseID(lease.ID)); status.Convert(err).Message() != rpctypes.ErrorDesc(rpctypes.ErrGRPCInvalidAuthToken) ||
				status.Code(err) != status.Code(rpctypes.ErrGRPCInvalidAuthToken) {
				t.Errorf("a renewal: %v", err)
			}
			if _, err := kv.Put(t.Context(), &pb.PutRequest{Key: []byte("old")}); err != nil {
				t.Errorf("a unary call: %v", err)
			}
			if resp, err := watches.Recv(); err != nil || len(resp.Events) != 1 {
				t.Errorf("the old watch: %v, %v", resp, err)
			}
		})
	}
}

func createWatch(t *testing.T, stream pb.Watch_WatchClient, key string) *pb.WatchResponse {
	t.Helper()
	create := &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte(key)}}
	if err := stream.Send(&pb.WatchRequest{RequestUnion: create}); err != nil {
		t.Fatal(err)
	}
	resp, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func enableAuth(t *testing.T, c *clientv3.Client) {
	t.Helper()
	_, err := c.UserAdd(t.Context(), "root", "root")
	if err == nil {
		_, err = c.UserGrantRole(t.Context(), "root", "root")
	}
	if err == nil {
		_, err = c.AuthEnable(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}
