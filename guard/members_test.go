package guard_test

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
)

func TestAGetSucceedsWithinSecondsThoughAMemberSwallowsEverything(t *testing.T) {
	t.Parallel()
	c := etcdtest.StartCluster(t, 3)
	s := store{c.Server, c.Client(t), c.Prefix(t)}
	s.put(t, "7")
	silent := etcdtest.Proxy(t, c.Members()[0].Endpoint())
	client := silent.Client(t, func(cfg *clientv3.Config) {
		cfg.Endpoints = append(cfg.Endpoints, c.Members()[1].Endpoint(), c.Members()[2].Endpoint())
	})
	g := counter(s.lockerOn(t, client))
	for range 6 { // all members are connected
		v, err := g.Get(t.Context())
		wantValue(t, v, err, 7)
	}
	silent.BlackHole(t)
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	for range 12 {
		began := time.Now()
		v, err := g.Get(ctx)
		wantValue(t, v, err, 7)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
	}
}
