package etcdsim_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/etcdtest"
)

func TestALeaseExpiresAsInEtcd(t *testing.T) {
	server := etcdtest.Start(t)
	prefix := "/" + server.Prefix(t) + "/"
	sim := etcdsim.New(1)
	t.Cleanup(sim.Close)
	for name, c := range map[string]*clientv3.Client{"etcd": server.Client(t), "model": sim.NewClient("model").Client} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lease, err := c.Grant(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if lease.TTL != 2 {
				t.Errorf("granted %d s", lease.TTL)
			}
			for i := range 2 {
				if _, err := c.Put(t.Context(), fmt.Sprint(prefix, i), "v", clientv3.WithLease(lease.ID)); err != nil {
					t.Fatal(err)
				}
			}
			resp := <-c.Watch(t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithPrevKV())
			if after := time.Since(start); after < 1900*time.Millisecond || after > 10*time.Second {
				t.Errorf("expired after %v", after)
			}
			got := ""
			for _, ev := range resp.Events {
				got += fmt.Sprintf("%v %s %t ", ev.Type, ev.Kv.Key[len(prefix):], ev.PrevKv.GetLease() == int64(lease.ID))
			}
			if want := "DELETE 0 true DELETE 1 true "; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if ttl, err := c.TimeToLive(t.Context(), lease.ID); err != nil || ttl.TTL != -1 {
				t.Errorf("time to live: %v, %v", ttl, err)
			}
			if _, err := c.KeepAliveOnce(t.Context(), lease.ID); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
				t.Errorf("renewal: %v", err)
			}
			if _, err := c.Put(t.Context(), prefix, "v", clientv3.WithLease(lease.ID)); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
				t.Errorf("put: %v", err)
			}
		})
	}
}
