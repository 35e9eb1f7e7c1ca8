package locker_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// puts reports whether a call is a transaction that puts.
func puts(call etcdsim.Call) bool {
	txn, ok := call.Request.(*pb.TxnRequest)
	if !ok {
		return false
	}
	for _, op := range txn.Success {
		if op.GetRequestPut() != nil {
			return true
		}
	}
	return false
}

// The first try of a put is carried out late; a later one was found, and removed.
func TestALateTryIsRemovedThoughAnotherTryWasFound(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		l, other := newLocker(t, c.Client), newLocker(t, sim.NewClient("b").Client)
		locktest.Acquire(t, l, neighbour) // its lease stays
		const gaveUp = 1300 * time.Millisecond
		var tries atomic.Int64
		until := time.Now().Add(gaveUp + 200*time.Millisecond)
		c.SetPlan(func(call etcdsim.Call, _ *rand.Rand) etcdsim.Fate {
			switch {
			case puts(call) && tries.Add(1) == 1:
				return etcdsim.Fate{Lose: etcdsim.Request, Hang: true, Late: 10 * time.Second}
			case puts(call):
				return etcdsim.Fate{Lose: etcdsim.Answer, Hang: true}
			case call.Method == "Txn" && time.Now().Before(until):
				return silent
			}
			return etcdsim.Fate{}
		})
		ctx, cancel := context.WithTimeout(t.Context(), gaveUp)
		defer cancel()
		_, err := l.Acquire(ctx, key)
		locktest.WantErr(t, err, context.DeadlineExceeded)
		time.Sleep(13 * time.Second)
		if q, err := other.Inspect(t.Context(), key); err != nil || len(q.Holders) > 0 {
			t.Errorf("left behind: %v, %v", q, err)
		}
	})
}

func TestALateWriteIsRemovedThoughThatOfAnotherIsForbidden(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		client, w := streaming(c)
		l, other := newLocker(t, client), newLocker(t, sim.NewClient("b").Client)
		locktest.Acquire(t, l, keyspace.MustParse("another")) // its lease stays
		c.SetPlan(func(call etcdsim.Call, _ *rand.Rand) etcdsim.Fate {
			if puts(call) {
				return etcdsim.Fate{Lose: etcdsim.Request, Hang: true, Late: 5 * time.Second}
			}
			return etcdsim.Fate{}
		})
		for _, k := range []keyspace.Key{neighbour, key} {
			_, err := l.Acquire(brief(t), k)
			locktest.WantErr(t, err, context.DeadlineExceeded)
		}
		name := neighbour.String()
		w.forbidden.Store(&name)
		time.Sleep(10 * time.Second)
		if q, err := other.Inspect(t.Context(), key); err != nil || len(q.Holders) > 0 {
			t.Errorf("left behind: %v, %v", q, err)
		}
		time.Sleep(3 * time.Minute)
		if n := locker.Suspects(l); n > 0 {
			t.Errorf("%d writes are looked for after minutes", n)
		}
	})
}

// Of a put that etcd has answered it is known what became of it.
func TestAnAcquireThatEtcdHasNoSpaceForIsNotLookedFor(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		l := newLocker(t, c.Client)
		locktest.Acquire(t, l, neighbour) // there is a lease
		c.SetPlan(func(call etcdsim.Call, _ *rand.Rand) etcdsim.Fate {
			if puts(call) {
				return etcdsim.Fate{Refuse: rpctypes.ErrGRPCNoSpace}
			}
			return etcdsim.Fate{}
		})
		for i := range 100 {
			if _, err := l.Acquire(t.Context(), keyspace.MustNew[int]("n").Key(i)); !errors.Is(err, rpctypes.ErrNoSpace) {
				t.Fatal(err)
			}
		}
		if n := locker.Suspects(l); n > 0 {
			t.Errorf("%d are looked for", n)
		}
	})
}
