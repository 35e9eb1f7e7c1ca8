package guard_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/etcdtest/mode"
)

func TestALearnerFailsNoCall(t *testing.T) {
	t.Parallel()
	voters := 1
	if mode.Auth() { // etcd's client logs in and then opens a stream: of two members, always at the other one
		voters = 3
	}
	c := etcdtest.StartCluster(t, voters)
	voter, learner := c.Members()[0], c.JoinLearner(t)
	s := store{c.Server, voter.Client(t), c.Prefix(t)}
	g := counter(s.lockerOn(t, c.Client(t))) // of both
	for n := range 10 {
		v, err := g.Update(t.Context(), increment)
		wantValue(t, v, err, n+1)
		v, err = g.Get(t.Context())
		wantValue(t, v, err, n+1)
	}
	for n := 20; n < 25; n++ {
		s.put(t, strconv.Itoa(n))
		began := time.Now()
		w := watch(t, t.Context(), g)
		wantYields(t, w, n)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("a watch began after %v", took)
		}
		s.put(t, "0")
		wantYields(t, w, 0)
	}
	if mode.Auth() {
		return // a learner refuses logins, too
	}
	// All calls of a client that knows the learner alone are refused, until it learns of another member.
	client := learner.Client(t)
	_, err := client.Get(t.Context(), s.name())
	wantErr(t, err, rpctypes.Error(rpctypes.ErrGRPCNotSupportedForLearner))
	refused := make(chan struct{})
	client.KV = notingKV{client.KV, refused}
	go func() {
		<-refused
		client.SetEndpoints(voter.Endpoint())
	}()
	l := s.lockerOn(t, client)
	v, err := counter(l).Get(t.Context())
	wantValue(t, v, err, 0)
	client.SetEndpoints(learner.Endpoint())
	time.AfterFunc(time.Second, func() { client.SetEndpoints(voter.Endpoint()) })
	v, err = counter(l).Update(t.Context(), increment)
	wantValue(t, v, err, 1)
}

// A notingKV closes refused when a Get fails.
type notingKV struct {
	clientv3.KV
	refused chan struct{}
}

func (kv notingKV) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	resp, err := kv.KV.Get(ctx, key, opts...)
	if err != nil {
		select {
		case <-kv.refused:
		default:
			close(kv.refused)
		}
	}
	return resp, err
}

// A learnersKV is a learner's at first.
type learnersKV struct {
	clientv3.KV
	refuse *int
}

func (kv learnersKV) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if *kv.refuse > 0 {
		*kv.refuse--
		return nil, rpctypes.Error(rpctypes.ErrGRPCNotSupportedForLearner)
	}
	return kv.KV.Get(ctx, key, opts...)
}

func TestAGetThatALearnerRefusesGoesElsewhere(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.put(t, "7")
	client, refuse := s.Client(t), 3
	client.KV = learnersKV{client.KV, &refuse}
	v, err := counter(s.lockerOn(t, client)).Get(t.Context())
	wantValue(t, v, err, 7)
	if refuse != 0 {
		t.Errorf("%d refusals were not met", refuse)
	}
}
