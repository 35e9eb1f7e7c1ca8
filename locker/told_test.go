package locker_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// losingOne is a plan that loses the next transaction, or its answer.
func losingOne(loss etcdsim.Loss) etcdsim.Plan {
	var once atomic.Bool
	return func(call etcdsim.Call, _ *rand.Rand) etcdsim.Fate {
		if call.Method == "Txn" && once.CompareAndSwap(false, true) {
			return etcdsim.Fate{Lose: loss}
		}
		return etcdsim.Fate{}
	}
}

// A stranger writes, without the lock, what the commit would have written.
func TestACommitIsNotTakenForDoneAsAStrangerWroteTheSame(t *testing.T) {
	path := key.ValuePath(locker.DefaultPrefix)
	for name, plan := range map[string]func() etcdsim.Plan{
		"refused":       func() etcdsim.Plan { return nil },
		"never arrived": func() etcdsim.Plan { return losingOne(etcdsim.Request) },
		"answer lost":   func() etcdsim.Plan { return losingOne(etcdsim.Answer) },
	} {
		for _, retain := range []time.Duration{0, time.Minute} {
			t.Run(name, func(t *testing.T) {
				simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
					c, operator := sim.NewClient("a"), sim.NewClient("operator")
					l := newLocker(t, c.Client, locker.WithRetain(retain))
					write := func(value string) {
						if _, err := operator.Put(t.Context(), path, value); err != nil {
							t.Fatal(err)
						}
					}
					write("5")
					h := locktest.Acquire(t, l, key, locker.ReadKeys(path))
					unchanged := clientv3.Compare(clientv3.ModRevision(path), "=", h.Read()[0].ModRevision)
					write("6")
					c.SetPlan(plan())
					if done, err := h.Commit(t.Context(), []clientv3.Cmp{unchanged}, clientv3.OpPut(path, "6")); done {
						t.Errorf("retained for %v: got %v, %v", retain, done, err)
					}
				})
			})
		}
	}
}

func TestACommitThatKeepsAValueIsNotReportedAsNotDone(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c, operator := sim.NewClient("a"), sim.NewClient("operator")
		if _, err := operator.Put(t.Context(), "/x", "value"); err != nil {
			t.Fatal(err)
		}
		lease, err := operator.Grant(t.Context(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		h := locktest.Acquire(t, newLocker(t, c.Client), key)
		c.SetPlan(losingOne(etcdsim.Answer))
		done, err := h.Commit(t.Context(), nil, clientv3.OpPut("/x", "", clientv3.WithIgnoreValue(), clientv3.WithLease(lease.ID)))
		if !done && !errors.Is(err, locker.ErrOutcomeUnknown) {
			t.Errorf("got %v, %v", done, err)
		}
	})
}

func TestACommitOfALostLockComesBackThoughWatchesFail(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		var opened atomic.Int64
		client := sim.NewClient("a").Client
		client.Watcher = deaf{client.Watcher, &opened}
		h := locktest.Acquire(t, newLocker(t, client), key)
		if _, err := sim.NewClient("operator").Delete(t.Context(), key.Path(locker.DefaultPrefix), clientv3.WithPrefix()); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err := h.Commit(context.Background(), nil, clientv3.OpPut("/x", "1"))
		locktest.WantErr(t, err, locker.ErrLost)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestACommitThatTellsNothingAndIsSentTwiceLeavesNobodyInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, other, armed := newResending(t, locker.WithHandoff(0))
		h := locktest.Acquire(t, l, key)
		got := locktest.Async(t, func() *locker.Hold { return locktest.Acquire(t, l, key) })
		synctest.Wait()
		armed.Store(true)
		_, _ = h.Commit(context.Background(), nil, clientv3.OpGet("/x"))
		locktest.Release(t, got())
		locktest.Release(t, locktest.Acquire(t, other, key))
	})
}

func TestACommitOfSeveralLocksTellsWhichWayOneWasLost(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		a, b := newLocker(t, sim.NewClient("a").Client), newLocker(t, sim.NewClient("b").Client)
		h := acquireAll(t, a, key, neighbour)
		for _, k := range []keyspace.Key{neighbour, key} {
			if _, err := b.Evict(t.Context(), k); err != nil {
				t.Fatal(err)
			}
			locktest.Release(t, locktest.Acquire(t, b, k))
			_, err := h.Commit(t.Context(), nil, clientv3.OpPut("/x", "1"))
			locktest.WantLost(t, err, locker.ReasonEvicted)
			h = acquireAll(t, a, key, neighbour)
		}
		locktest.Release(t, h)
	})
}

// A refuser is a KV that refuses the n-th transaction from when n was set.
type refuser struct {
	clientv3.KV
	n *atomic.Int64
}

func (kv refuser) Txn(ctx context.Context) clientv3.Txn {
	if kv.n.Add(-1) == 0 {
		return refusedTxn{}
	}
	return kv.KV.Txn(ctx)
}

type refusedTxn struct{}

func (t refusedTxn) If(...clientv3.Cmp) clientv3.Txn  { return t }
func (t refusedTxn) Then(...clientv3.Op) clientv3.Txn { return t }
func (t refusedTxn) Else(...clientv3.Op) clientv3.Txn { return t }
func (t refusedTxn) Commit() (*clientv3.TxnResponse, error) {
	return nil, rpctypes.Error(rpctypes.ErrGRPCRequestTooManyRequests)
}

func TestAnEntryOverWhatWasWrittenByHandDoesNotStayWhenItsRemovalIsRefused(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		client, n := sim.NewClient("a").Client, new(atomic.Int64)
		client.KV = refuser{client.KV, n}
		a, b := newLocker(t, client), newLocker(t, sim.NewClient("b").Client)
		operator := sim.NewClient("operator")
		h := locktest.Acquire(t, a, key)
		resp, err := operator.Get(t.Context(), key.Path(locker.DefaultPrefix), clientv3.WithPrefix())
		if err != nil {
			t.Fatal(err)
		}
		locktest.Release(t, h)
		kept := locktest.Acquire(t, a, neighbour) // so is the lease
		if _, err := operator.Put(t.Context(), string(resp.Kvs[0].Key), "by hand"); err != nil {
			t.Fatal(err)
		}
		n.Store(2)
		if h, err := a.TryAcquire(t.Context(), key); err == nil {
			locktest.Release(t, h)
		}
		locktest.Release(t, locktest.Acquire(t, b, key))
		locktest.Release(t, kept)
	})
}

func TestAReleaseUnderAnothersContextIsBoundedByIt(t *testing.T) {
	for name, end := range map[string]func(ctx context.Context, h *locker.Hold) error{
		"release": func(ctx context.Context, h *locker.Hold) error { return h.Release(ctx) },
		"commit": func(ctx context.Context, h *locker.Hold) error {
			_, err := h.Commit(ctx, nil, clientv3.OpPut("/x", "1"))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
				c := sim.NewClient("a")
				l := newLocker(t, c.Client)
				outer := locktest.Acquire(t, l, neighbour, locker.TTL(time.Hour))
				h := locktest.Acquire(t, l, key, locker.TTL(time.Hour))
				c.Partition()
				var ended time.Time
				released := make(chan struct{})
				time.AfterFunc(100*time.Millisecond, func() {
					defer close(released)
					ended = time.Now()
					_ = outer.Release(context.Background())
				})
				err := end(outer.Context(), h)
				if late := time.Since(ended); err == nil || late > 501*time.Millisecond {
					t.Errorf("got %v, %v after the end", err, late)
				}
				c.Heal()
				<-released
			})
		})
	}
}

// A ledger counts what a hook is told.
type ledger struct {
	locker.NopHook
	asked, answered, granted, held, ended atomic.Int64
}

func (h *ledger) AcquireStart(ctx context.Context, _ locker.AcquireStartData) (context.Context, map[string]string) {
	h.asked.Add(1)
	return ctx, nil
}

func (h *ledger) AcquireEnd(_ context.Context, d locker.AcquireEndData) {
	h.answered.Add(1)
	if d.Err == nil {
		h.granted.Add(1)
	}
}

func (h *ledger) HoldStart(ctx context.Context, _ locker.HoldStartData) context.Context {
	h.held.Add(1)
	return ctx
}

func (h *ledger) HoldEnd(context.Context, locker.HoldEndData) { h.ended.Add(1) }

func TestHooksHearOfEveryLockOfAnAcquireOfSeveral(t *testing.T) {
	for name, want := range map[string]func(h *ledger) bool{
		"no lease": func(h *ledger) bool { return h.asked.Load() == 2 && h.answered.Load() == 2 && h.granted.Load() == 0 },
		"a panic in the callback": func(h *ledger) bool {
			return h.asked.Load() == 2 && h.answered.Load() == 2 && h.granted.Load() == 1 && h.held.Load() == 1 && h.ended.Load() == 1
		},
	} {
		t.Run(name, func(t *testing.T) {
			simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
				c, h := sim.NewClient("a"), new(ledger)
				l := newLocker(t, c.Client, locker.WithHook(h), locker.WithSuccessCallback(func(string) { panic("test") }))
				if name == "no lease" {
					c.Partition()
				}
				_ = locktest.PanicOf(func() { _, _ = l.AcquireAll(t.Context(), []keyspace.Key{key, neighbour}) })
				synctest.Wait()
				if !want(h) {
					t.Errorf("asked %d, answered %d, granted %d, held %d, ended %d", h.asked.Load(), h.answered.Load(), h.granted.Load(), h.held.Load(), h.ended.Load())
				}
				c.Heal()
			})
		})
	}
}

// A dawdler is a hook whose first HoldEnd waits for free.
type dawdler struct {
	locker.NopHook
	free  chan struct{}
	first atomic.Bool
	ended sync.Map // by key
}

func (h *dawdler) HoldEnd(_ context.Context, d locker.HoldEndData) {
	h.ended.Store(d.Key, true)
	if h.first.CompareAndSwap(false, true) {
		<-h.free
	}
}

func TestTheEndOfALostHoldIsToldBeforeItsRunReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &dawdler{free: make(chan struct{})}
		l := lockertest.New(t, locker.WithHook(h))
		over := make(chan struct{})
		for _, k := range []keyspace.Key{key, neighbour} {
			go func() {
				locktest.WantErr(t, l.RunInLock(t.Context(), k, func(ctx context.Context, _ *locker.Hold) error {
					<-ctx.Done()
					return nil
				}), locker.ErrLost)
				if _, told := h.ended.Load(k); !told {
					t.Errorf("%v: not told yet", k)
				}
				over <- struct{}{}
			}()
		}
		synctest.Wait()
		lockertest.Expire(l)
		<-over // that of the other lock, while a hook dawdles
		close(h.free)
		<-over
	})
}
