package calls

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/xctx"
)

var errUnheard = errors.New("unheard")

// A bed is a Client of an etcd in memory, in virtual time.
type bed struct {
	*Client
	sim  *etcdsim.Client
	sent atomic.Int64                      // calls
	fate func(n int64) (fate etcdsim.Fate) // of the n-th call
}

func inBed(t *testing.T, f func(t *testing.T, b *bed)) {
	synctest.Test(t, func(t *testing.T) {
		sim := etcdsim.New(1)
		defer sim.Close()
		b := &bed{sim: sim.NewClient("test"), fate: func(int64) etcdsim.Fate { return etcdsim.Fate{} }}
		b.sim.SetPlan(func(call etcdsim.Call, _ *rand.Rand) etcdsim.Fate {
			if _, watch := call.Request.(*pb.WatchRequest); watch || call.Request == nil {
				return etcdsim.Fate{}
			}
			return b.fate(b.sent.Add(1))
		})
		b.Client = New(b.sim.Client, errUnheard)
		f(t, b)
	})
}

// put is a transaction that puts a key.
func (b *bed) put(ctx context.Context) (twice bool, err error) {
	_, twice, err = b.Txn(ctx, nil, []clientv3.Op{clientv3.OpPut("key", "value")}, nil)
	return twice, err
}

func TestATransactionIsSentOnceWhileAllMembersAnswer(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.fate = func(int64) etcdsim.Fate { return etcdsim.Fate{Send: 3 * hedge} }
		if twice, err := b.put(t.Context()); err != nil || twice || b.sent.Load() != 1 {
			t.Errorf("sent %d times, %v, %v", b.sent.Load(), twice, err)
		}
	})
}

func TestASlowTransactionIsSentTwiceForAWhileAfterASilence(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.fate = func(n int64) etcdsim.Fate {
			if n == 1 || n == 3 {
				return etcdsim.Fate{Send: time.Minute}
			}
			return etcdsim.Fate{}
		}
		b.NoteSilence()
		began := time.Now()
		if twice, err := b.put(t.Context()); err != nil || !twice || b.sent.Load() != 2 || time.Since(began) != hedge {
			t.Errorf("sent %d times, %v, %v, after %v", b.sent.Load(), twice, err, time.Since(began))
		}
		time.Sleep(hedging - hedge/2) // the silence was noted anew
		if twice, err := b.put(t.Context()); err != nil || !twice || b.sent.Load() != 4 {
			t.Errorf("while that is young, sent %d times, %v, %v", b.sent.Load()-2, twice, err)
		}
		if twice, err := b.put(t.Context()); err != nil || twice {
			t.Errorf("a quick one: %v, %v", twice, err)
		}
		b.fate = func(int64) etcdsim.Fate { return etcdsim.Fate{Send: 2 * hedge} }
		time.Sleep(hedging + time.Millisecond)
		before := b.sent.Load()
		if twice, err := b.put(t.Context()); err != nil || twice || b.sent.Load() != before+1 {
			t.Errorf("long after it: %v, %v", twice, err)
		}
	})
}

// One of two is refused, and the other one may have been carried out.
func TestTheRefusalOfOneOfTwoSaysNothingOfTheOther(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.fate = func(n int64) etcdsim.Fate {
			if n == 1 {
				return etcdsim.Fate{Send: 2 * hedge, Lose: etcdsim.Answer}
			}
			return etcdsim.Fate{Send: 3 * hedge, Refuse: rpctypes.ErrGRPCPermissionDenied}
		}
		b.NoteSilence()
		ctx, cancel := context.WithTimeout(t.Context(), 10*hedge)
		defer cancel()
		if _, err := b.put(ctx); err == nil || batch.NotApplied(err) {
			t.Errorf("told as not carried out: %v", err)
		}
	})
}

func TestPersistGoesOnWhileItsErrorPasses(t *testing.T) {
	for _, passing := range []error{rpctypes.ErrTimeout, batch.ErrTogether, batch.ErrNoAnswer} {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			err := New(&clientv3.Client{}, errUnheard).Persist(t.Context(), func(context.Context) error {
				if n++; n < 3 {
					return passing
				}
				return nil
			})
			if err != nil || n != 3 {
				t.Errorf("%v: %d tries, %v", passing, n, err)
			}
		})
	}
}

func TestPersistEndsWithAnErrorThatStaysAndWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(&clientv3.Client{}, errUnheard)
		n := 0
		f := func(err error) func(context.Context) error { return func(context.Context) error { n++; return err } }
		if err := c.Persist(t.Context(), f(rpctypes.ErrPermissionDenied)); !errors.Is(err, rpctypes.ErrPermissionDenied) || n != 1 {
			t.Errorf("%d tries, %v", n, err)
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errUnheard)
		defer cancel()
		err := c.Persist(ctx, f(rpctypes.ErrTimeout))
		if !errors.Is(err, errUnheard) || errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, rpctypes.ErrTimeout) {
			t.Errorf("after its context: %v", err)
		}
	})
}

func TestCleanUpsOutliveTheirCallersForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(&clientv3.Client{}, errUnheard)
		for _, want := range []struct {
			name string
			of   func(context.Context) *xctx.Grace
			d    time.Duration
		}{
			{"trying", c.Trying, 0},
			{"entering", func(ctx context.Context) *xctx.Grace { return c.Entering(ctx, xctx.NewLimiter(context.Background())) }, Grace / 2},
			{"detached", c.Detached, Grace},
		} {
			caller, cancel := context.WithCancel(t.Context())
			g := want.of(caller)
			began := time.Now()
			cancel()
			<-g.Done()
			if d := time.Since(began); d != want.d {
				t.Errorf("%s ends after %v, want %v", want.name, d, want.d)
			}
			g.Stop()
		}
	})
}

func TestALeaseIsGoneOnlyIfEtcdSaysSo(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		grant, err := b.Lease().Grant(t.Context(), 100)
		if err != nil {
			t.Fatal(err)
		}
		if b.LeaseGone(t.Context(), grant.ID) {
			t.Error("a lease that lives is gone")
		}
		if _, err := b.Lease().Revoke(t.Context(), grant.ID); err != nil {
			t.Fatal(err)
		}
		first := b.sent.Load() + 1
		b.fate = func(n int64) (fate etcdsim.Fate) {
			if n == first {
				fate.Lose = etcdsim.Request
			}
			return fate
		}
		if !b.LeaseGone(t.Context(), grant.ID) {
			t.Error("a lease that was revoked is there")
		}
		b.sim.Partition()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if b.LeaseGone(ctx, grant.ID) {
			t.Error("a lease is gone as etcd is silent")
		}
		b.sim.Heal()
	})
}

// streaming is a Lease that opens streams of renewals.
type streaming struct{ clientv3.Lease }

var errStream = errors.New("a stream of its own")

func (streaming) KeepAliveStream(context.Context) (pb.Lease_LeaseKeepAliveClient, error) {
	return nil, errStream
}

func TestRenewalsGoPastOnlyALeaseThatIsEtcdsOwn(t *testing.T) {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	own := client.Lease
	if New(client, errUnheard).Renewals() == nil {
		t.Error("no stream for etcd's own Lease")
	}
	client.Lease = namespace.NewLease(own, "prefix/")
	if New(client, errUnheard).Renewals() == nil {
		t.Error("no stream for a namespace's Lease")
	}
	client.Lease = struct{ clientv3.Lease }{own}
	if New(client, errUnheard).Renewals() != nil {
		t.Error("renewals go past a Lease of the user")
	}
	client.Lease = streaming{own}
	if open := New(client, errUnheard).Renewals(); open == nil {
		t.Error("a Lease that opens streams is not used")
	} else if _, err := open(t.Context()); err != errStream {
		t.Errorf("its stream is not used: %v", err)
	}
	client.Lease = own
}
