package locker_test

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/locker"
)

// The record of a retained lock is put again while a commit begins. That goes
// twice, and the answer is that of the second, which did nothing.
func TestACommitWhileTheRecordIsPutTwiceTellsTheTruth(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c, path := sim.NewClient("a"), key.ValuePath(locker.DefaultPrefix)
		l := newLocker(t, c.Client, locker.WithRetain(time.Minute))
		locktest.Release(t, locktest.Acquire(t, l, key)) // it is retained
		h := locktest.Acquire(t, l, key, locker.ReadKeys(path))
		time.Sleep(25 * time.Second) // the watch of the queue begins anew after 30: then it is put again
		if _, err := sim.NewClient("b").Put(t.Context(), "/x", ""); err != nil {
			t.Fatal(err)
		}
		locker.SuspectMember(l)
		says := make(chan struct{})
		var once sync.Once
		c.SetPlan(func(call etcdsim.Call, _ *rand.Rand) (f etcdsim.Fate) {
			if txn, ok := call.Request.(*pb.TxnRequest); ok && len(txn.Success) == 2 && txn.Success[0].GetRequestPut() != nil && txn.Success[1].GetRequestRange() != nil {
				once.Do(func() {
					close(says)
					f.Reply = time.Second
				})
			}
			return f
		})
		locktest.Receive(t, says)
		time.Sleep(50 * time.Millisecond) // the second one goes after 100ms
		done, err := h.Commit(t.Context(), nil, clientv3.OpPut(path, "1"))
		resp, gerr := c.Get(t.Context(), path)
		if gerr != nil {
			t.Fatal(gerr)
		}
		if stored := len(resp.Kvs) == 1; stored != done && !errors.Is(err, locker.ErrOutcomeUnknown) {
			t.Errorf("stored %v, and Commit says %v, %v", stored, done, err)
		}
	})
}

// The record is put again without an answer, and then in vain: what it is stays unknown.
func TestACommitAfterTheRecordWasPutWithoutAnAnswerTellsTheTruth(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c, path := sim.NewClient("a"), key.ValuePath(locker.DefaultPrefix)
		l := newLocker(t, c.Client, locker.WithRetain(time.Minute))
		locktest.Release(t, locktest.Acquire(t, l, key)) // it is retained
		h := locktest.Acquire(t, l, key, locker.ReadKeys(path))
		refused := make(chan struct{})
		var puts atomic.Int64
		c.SetPlan(func(call etcdsim.Call, _ *rand.Rand) (f etcdsim.Fate) {
			txn, ok := call.Request.(*pb.TxnRequest)
			if !ok || len(txn.Success) != 2 || txn.Success[0].GetRequestPut() == nil || txn.Success[1].GetRequestRange() == nil {
				return f
			}
			switch puts.Add(1) {
			case 1:
				f.Refuse, f.Carried = rpctypes.ErrGRPCTimeout, true
			case 2:
				f.Refuse = rpctypes.ErrGRPCRequestTooManyRequests
				close(refused)
			}
			return f
		})
		if _, err := sim.NewClient("b").Put(t.Context(), "/x", ""); err != nil {
			t.Fatal(err)
		}
		select {
		case <-refused: // when the watch of the queue begins anew
		case <-time.After(time.Minute):
			t.Fatal("the record is not put again")
		}
		synctest.Wait()
		done, err := h.Commit(t.Context(), nil, clientv3.OpPut(path, "1"))
		resp, gerr := c.Get(t.Context(), path)
		if gerr != nil {
			t.Fatal(gerr)
		}
		if stored := len(resp.Kvs) == 1; !stored || !done {
			t.Errorf("stored %v, and Commit says %v, %v", stored, done, err)
		}
	})
}
