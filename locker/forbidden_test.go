package locker_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/locker"
)

// A streamer is a Watcher that counts the streams of watches that are open, and
// refuses watches of some keys.
type streamer struct {
	clientv3.Watcher
	open      *atomic.Int64
	forbidden *atomic.Pointer[string] // a part of the keys
}

func (w streamer) WatchStream(ctx context.Context) (pb.Watch_WatchClient, error) {
	st, err := w.Watcher.(interface {
		WatchStream(context.Context) (pb.Watch_WatchClient, error)
	}).WatchStream(ctx)
	if err != nil {
		return nil, err
	}
	w.open.Add(1)
	context.AfterFunc(ctx, func() { w.open.Add(-1) })
	return &refusingStream{Watch_WatchClient: st, w: w}, nil
}

type refusingStream struct {
	pb.Watch_WatchClient
	w       streamer
	refuses atomic.Bool
}

func (st *refusingStream) Send(r *pb.WatchRequest) error {
	if strings.Contains(string(r.GetCreateRequest().GetKey()), *st.w.forbidden.Load()) {
		st.refuses.Store(true)
	}
	return st.Watch_WatchClient.Send(r)
}

func (st *refusingStream) Recv() (*pb.WatchResponse, error) {
	r, err := st.Watch_WatchClient.Recv()
	if err == nil && st.refuses.Load() {
		r = &pb.WatchResponse{Created: true, Canceled: true, CancelReason: rpctypes.ErrGRPCPermissionDenied.Error()}
	}
	return r, err
}

// allowed is part of no key.
var allowed = "\x00"

// streaming returns a client like c whose watches can go over one stream, and its
// Watcher.
func streaming(c *etcdsim.Client) (*clientv3.Client, streamer) {
	c.OfferWatchStreams()
	w := streamer{c.Watcher, new(atomic.Int64), new(atomic.Pointer[string])}
	w.forbidden.Store(&allowed)
	client := clientv3.NewCtxClient(c.Ctx())
	client.KV, client.Lease, client.Watcher = refusingKV{c.KV, w}, c.Lease, w
	return client, w
}

// A refusingKV refuses transactions about keys that w forbids.
type refusingKV struct {
	clientv3.KV
	w streamer
}

func (kv refusingKV) Txn(ctx context.Context) clientv3.Txn {
	return &refusingTxn{Txn: kv.KV.Txn(ctx), w: kv.w}
}

type refusingTxn struct {
	clientv3.Txn
	w       streamer
	refuses bool
}

func (t *refusingTxn) If(cmps ...clientv3.Cmp) clientv3.Txn { t.Txn.If(cmps...); return t }

func (t *refusingTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	for _, op := range ops {
		t.refuses = t.refuses || strings.Contains(string(op.KeyBytes()), *t.w.forbidden.Load())
	}
	t.Txn.Then(ops...)
	return t
}

func (t *refusingTxn) Else(ops ...clientv3.Op) clientv3.Txn { t.Txn.Else(ops...); return t }

func (t *refusingTxn) Commit() (*clientv3.TxnResponse, error) {
	if t.refuses {
		return nil, rpctypes.ErrPermissionDenied
	}
	return t.Txn.Commit()
}

// A role is taken away for one key, while the lease goes on, as it does before
// etcd 3.7.
func TestALossIsToldThoughTheKeyOfAnotherHoldIsForbidden(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		client, w := streaming(c)
		l := newLocker(t, client)
		forbidden, h := locktest.Acquire(t, l, neighbour), locktest.Acquire(t, l, key)
		time.Sleep(5 * time.Second)
		name := neighbour.String()
		w.forbidden.Store(&name)
		c.BreakStreams()
		time.Sleep(5 * time.Second)
		if _, err := c.Delete(t.Context(), key.Path(locker.DefaultPrefix), clientv3.WithPrefix()); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		select {
		case <-h.Context().Done():
			t.Logf("told after %v", time.Since(began))
		case <-time.After(2 * time.Second):
			t.Error("not told")
		}
		locktest.WantErr(t, forbidden.Err(), nil)
		w.forbidden.Store(&allowed)
		locktest.Release(t, forbidden)
	})
}

func TestTheWatchOfAKeyEndsWithItsLastHoldHoweverYoungThatIs(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		client, w := streaming(sim.NewClient("a"))
		l := newLocker(t, client)
		h := locktest.Acquire(t, l, key)
		time.Sleep(2500 * time.Millisecond)
		locktest.Release(t, h)
		h = locktest.Acquire(t, l, key)
		time.Sleep(900 * time.Millisecond) // the sentry looks
		locktest.Release(t, h)
		time.Sleep(5 * time.Second)
		if n := w.open.Load(); n > 0 {
			t.Errorf("%d streams of watches are open though nothing is held", n)
		}
	})
}

func TestAHoldOfAKeyThatIsWatchedAlreadyIsNotRead(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		client, _ := streaming(c)
		l := newLocker(t, client)
		h := locktest.Acquire(t, l, key)
		time.Sleep(2500 * time.Millisecond)
		locktest.Release(t, h)
		h = locktest.Acquire(t, l, key)
		time.Sleep(5 * time.Second)
		var reads atomic.Int64
		c.SetPlan(func(call etcdsim.Call, _ *rand.Rand) etcdsim.Fate {
			if call.Method == "Txn" {
				reads.Add(1)
			}
			return etcdsim.Fate{}
		})
		time.Sleep(10 * time.Second)
		if n := reads.Load(); n > 0 {
			t.Errorf("it is read %d times in 10 s", n)
		}
		if _, err := c.Delete(t.Context(), key.Path(locker.DefaultPrefix), clientv3.WithPrefix()); err != nil {
			t.Fatal(err)
		}
		locktest.Receive(t, h.Context().Done())
		locktest.WantLost(t, h.Err(), locker.ReasonKeyDeleted)
	})
}
