package locker_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/internal/proctest"
	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// freeAfter waits until l acquires key, and returns how long after began that is.
func freeAfter(t *testing.T, l *locker.Locker, began time.Time) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	h, err := l.Acquire(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	after := time.Since(began)
	locktest.Release(t, h)
	return after
}

// wantAfter wants the lock to be free after d, and soon then.
func wantAfter(t *testing.T, after, d, soon time.Duration) {
	t.Helper()
	if after < d || after > d+soon {
		t.Errorf("free after %v, want %v, or a little more", after, d)
	}
}

func TestALockStaysTakenForAtLeastSoLongThoughItsCallerGoesOn(t *testing.T) {
	ends := map[string]func(ctx context.Context, h *locker.Hold) error{
		"release": func(ctx context.Context, h *locker.Hold) error { return h.Release(ctx) },
		"run": func(_ context.Context, h *locker.Hold) error {
			return h.Run(func(context.Context, *locker.Hold) error { return nil })
		},
		"commit": func(ctx context.Context, h *locker.Hold) error {
			done, err := h.Commit(ctx, nil, clientv3.OpPut("/value", "1"))
			if !done && err == nil {
				err = errors.New("not done")
			}
			return err
		},
		"commit whose comparison fails": func(ctx context.Context, h *locker.Hold) error {
			done, err := h.Commit(ctx, []clientv3.Cmp{clientv3.Compare(clientv3.Version("/value"), "=", 7)}, clientv3.OpPut("/value", "1"))
			if done {
				err = errors.New("done")
			}
			return err
		},
	}
	for name, end := range ends {
		for _, d := range []time.Duration{500 * time.Millisecond, time.Minute + time.Second/2} {
			for who, opts := range map[string][]locker.Option{
				"": nil, " while others of the process wait": nil, " with retention": {locker.WithRetain(time.Hour)},
				" with a value": nil,
			} {
				t.Run(name+who, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						a, b := lockertest.NewPair(t, opts...)
						ctx := t.Context()
						if len(opts) > 0 {
							locktest.Release(t, locktest.Acquire(t, a, key))
							locktest.Release(t, locktest.Acquire(t, a, key))
						}
						acquire := []locker.AcquireOption{locker.AtLeast(d)}
						if strings.HasSuffix(who, "value") {
							acquire = append(acquire, locker.ReadKeys("/value"))
						}
						h, err := a.Acquire(ctx, key, acquire...)
						if err != nil {
							t.Fatal(err)
						}
						began := time.Now()
						waits := strings.HasSuffix(who, "wait")
						local := make(chan time.Duration, 1)
						if waits {
							go func() { local <- freeAfter(t, a, began) }()
							locktest.Until(t, "it waits", func() bool { return locker.Waiting(a, key) == 1 })
						}
						time.Sleep(d / 5)
						if err := end(ctx, h); err != nil {
							t.Fatal(err)
						}
						if took := time.Since(began) - d/5; took > time.Second/10 {
							t.Errorf("the end took %v", took)
						}
						if !errors.Is(h.Err(), locker.ErrReleased) {
							t.Errorf("the hold: %v", h.Err())
						}
						if err := h.Release(ctx); err != nil {
							t.Errorf("released again: %v", err)
						}
						for _, l := range []*locker.Locker{a, b} {
							if _, err := l.TryAcquire(ctx, key); !errors.Is(err, locker.ErrLocked) {
								t.Errorf("a try meanwhile: %v", err)
							}
						}
						q, err := b.Inspect(ctx, key)
						if err != nil || len(q.Holders) != 1 || q.Holders[0].Token != h.Token()&^0xffff || !q.Holders[0].Until.Equal(began.Add(d)) {
							t.Errorf("%+v, %v", q, err)
						}
						wantAfter(t, freeAfter(t, b, began), d, time.Second/2)
						if waits {
							wantAfter(t, <-local, d, time.Second/2)
						}
						if got := freeAfter(t, a, began); got > d+time.Second {
							t.Errorf("free for its own process after %v", got)
						}
					})
				})
			}
		}
	}
}

func TestALockThatWasHeldForLongEnoughIsReleasedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		h := locktest.Acquire(t, a, key, locker.AtLeast(time.Second))
		time.Sleep(time.Second)
		locktest.Release(t, h)
		locktest.Release(t, proctest.Must(b.TryAcquire(t.Context(), key)))
	})
}

// The monitor, Close and Shutdown end holds, too.
func TestALockStaysTakenWhateverEndsItsHold(t *testing.T) {
	const d = time.Minute
	for name, end := range map[string]func(t *testing.T, a *locker.Locker, h *locker.Hold){
		"monitor": func(t *testing.T, _ *locker.Locker, h *locker.Hold) {
			<-h.Context().Done()
			if err := h.Release(context.Background()); !errors.Is(err, locker.ErrMaxHeld) {
				t.Error(err)
			}
		},
		"close": func(t *testing.T, a *locker.Locker, h *locker.Hold) {
			locktest.Must(t, a.Close())
			if !errors.Is(h.Err(), locker.ErrClosed) {
				t.Error(h.Err())
			}
		},
		"release, then close": func(t *testing.T, a *locker.Locker, h *locker.Hold) {
			locktest.Release(t, h)
			locktest.Must(t, a.Close())
		},
		"shutdown": func(t *testing.T, a *locker.Locker, h *locker.Hold) {
			time.AfterFunc(time.Second, func() { locktest.Release(t, h) })
			locktest.Must(t, a.Shutdown(context.Background()))
		},
		"release, then shutdown": func(t *testing.T, a *locker.Locker, h *locker.Hold) {
			locktest.Release(t, h)
			locktest.Must(t, a.Shutdown(context.Background()))
		},
		"release under a context that is done": func(t *testing.T, a *locker.Locker, h *locker.Hold) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			locktest.Must(t, h.Release(ctx))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := lockertest.NewPair(t, locker.WithMonitorTicks(time.Second))
				h := locktest.Acquire(t, a, key, locker.AtLeast(d), locker.MaxHeld(10*time.Second))
				began := time.Now()
				end(t, a, h)
				if took := time.Since(began); took > 15*time.Second {
					t.Errorf("that took %v", took)
				}
				// A lease that nobody ends expires within a second or so.
				wantAfter(t, freeAfter(t, b, began), d, 2*time.Second)
			})
		})
	}
}

func TestLocksOfASetStayTaken(t *testing.T) {
	const d = 30 * time.Second
	other := keyspace.MustParse("space/other")
	for name, end := range map[string]func(ctx context.Context, s *locker.HoldSet) error{
		"release": func(ctx context.Context, s *locker.HoldSet) error { return s.Release(ctx) },
		"commit": func(ctx context.Context, s *locker.HoldSet) error {
			_, err := s.Commit(ctx, nil, clientv3.OpPut("/value", "1"))
			return err
		},
		"monitor": func(_ context.Context, s *locker.HoldSet) error { <-s.Context().Done(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := lockertest.NewPair(t, locker.WithMonitorTicks(time.Second))
				began := time.Now()
				s := proctest.Must(a.AcquireAll(t.Context(), []keyspace.Key{key, other}, locker.AtLeast(d), locker.MaxHeld(10*time.Second)))
				locktest.Must(t, end(t.Context(), s))
				s = proctest.Must(b.AcquireAll(t.Context(), []keyspace.Key{other, key}))
				wantAfter(t, time.Since(began), d, time.Second)
				locktest.Release(t, s)
			})
		})
	}
}

// An endFunc is called when a hold ends.
type endFunc struct {
	locker.NopHook
	f func()
}

func (e endFunc) HoldEnd(context.Context, locker.HoldEndData) { e.f() }

// Close waits for what others have ended, though their hooks are slow, or etcd is.
func TestCloseWaitsForALockThatIsToStayTakenAsItsHoldHasEnded(t *testing.T) {
	const d = time.Minute
	other := keyspace.MustParse("space/other")
	for name, end := range map[string]func(h *locker.HoldSet) error{
		"monitor": func(h *locker.HoldSet) error { <-h.Context().Done(); return nil },
		"release": func(h *locker.HoldSet) error {
			go func() { _ = h.Release(context.Background()) }()
			return nil
		},
		"commit": func(h *locker.HoldSet) error {
			go func() { _, _ = h.Commit(context.Background(), nil, clientv3.OpPut("/value", "1")) }()
			return nil
		},
		"commit whose comparison fails": func(h *locker.HoldSet) error {
			go func() {
				_, _ = h.Commit(context.Background(), []clientv3.Cmp{clientv3.Compare(clientv3.Version("/value"), "=", 7)}, clientv3.OpPut("/value", "1"))
			}()
			return nil
		},
	} {
		for n := range 2 {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					slow := endFunc{f: func() { time.Sleep(time.Second) }}
					a, b := lockertest.NewPair(t, locker.WithMonitorTicks(time.Second), locker.WithHook(slow))
					began := time.Now()
					s := proctest.Must(a.AcquireAll(t.Context(), []keyspace.Key{key, other}[:1+n], locker.AtLeast(d), locker.MaxHeld(10*time.Second)))
					lockertest.SetDelay(a, 100*time.Millisecond)
					locktest.Must(t, end(s))
					time.Sleep(50 * time.Millisecond)
					locktest.Must(t, a.Close())
					s = proctest.Must(b.AcquireAll(t.Context(), []keyspace.Key{key, other}[:1+n]))
					wantAfter(t, time.Since(began), d, 3*time.Second)
					locktest.Release(t, s)
				})
			})
		}
	}
}

// The others of a set of which one lock is lost stay taken, too.
func TestCloseWaitsForTheOthersOfASetThatIsLost(t *testing.T) {
	const d = time.Minute
	other := keyspace.MustParse("space/other")
	synctest.Test(t, func(t *testing.T) {
		slow := endFunc{f: func() { time.Sleep(time.Second) }}
		a, b := lockertest.NewPair(t, locker.WithHook(slow))
		began := time.Now()
		s := proctest.Must(a.AcquireAll(t.Context(), []keyspace.Key{key, other}, locker.AtLeast(d)))
		lockertest.Lose(a, other)
		<-s.Context().Done()
		time.Sleep(100 * time.Millisecond)
		locktest.Must(t, a.Close())
		wantAfter(t, freeAfter(t, b, began), d, 3*time.Second)
	})
}

func TestCloseSaysSoIfAHookKeepsItFromKeepingALock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := endFunc{f: func() { time.Sleep(10 * time.Second) }}
		a := lockertest.New(t, locker.WithMonitorTicks(time.Second), locker.WithHook(stuck))
		h := locktest.Acquire(t, a, key, locker.AtLeast(time.Hour), locker.MaxHeld(time.Second))
		<-h.Context().Done()
		if err := a.Close(); err == nil || !strings.Contains(err.Error(), "space/key does not stay taken for 1h0m0s") {
			t.Errorf("closed: %v", err)
		}
	})
}

// A release goes on while Close gives it up: that is said once.
func TestCloseSaysOnceWhichLockItFreesTooEarly(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		a := proctest.Must(locker.New(c.Client, locker.WithLogger(slog.New(slog.DiscardHandler))))
		h := locktest.Acquire(t, a, key, locker.AtLeast(time.Hour))
		c.SetPlan(func(call etcdsim.Call, _ *rand.Rand) etcdsim.Fate {
			if call.Method == "LeaseGrant" {
				return etcdsim.Fate{Lose: etcdsim.Request, Hang: true}
			}
			return etcdsim.Fate{}
		})
		released := locktest.Async(t, func() error { return h.Release(context.Background()) })
		synctest.Wait()
		if err := a.Close(); err == nil || strings.Count(err.Error(), "space/key does not stay taken for 1h0m0s") != 1 {
			t.Errorf("closed: %v", err)
		}
		if err := released(); err == nil {
			t.Error("released")
		}
		locktest.Must(t, a.Close())
	})
}

func TestAHookThatEndsItsGoroutineLeavesTheLockTaken(t *testing.T) {
	const d = time.Minute
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		quiet := locker.WithLogger(slog.New(slog.DiscardHandler))
		a := locktest.New(t, sim.NewClient("a").Client, locker.WithHook(endFunc{f: runtime.Goexit}), quiet)
		b := locktest.New(t, sim.NewClient("b").Client)
		began := time.Now()
		h := locktest.Acquire(t, a, key, locker.AtLeast(d))
		go func() { _ = h.Release(context.Background()) }()
		wantAfter(t, freeAfter(t, b, began), d, time.Second)
		if err := h.Release(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// None of its locks stays taken: nobody has held them all.
func TestAnAcquireOfSeveralThatFailsLeavesNoLockTaken(t *testing.T) {
	other := keyspace.MustParse("space/other")
	synctest.Test(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		h := locktest.Acquire(t, b, other)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := a.AcquireAll(ctx, []keyspace.Key{key, other}, locker.AtLeast(time.Minute))
		locktest.WantErr(t, err, context.DeadlineExceeded)
		wantAfter(t, freeAfter(t, b, time.Now()), 0, time.Second)
		locktest.Release(t, h)
	})
}

func TestALockThatOnlyStaysTakenCanBeEvicted(t *testing.T) {
	for _, who := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			a, b := lockertest.NewPair(t)
			h := locktest.Acquire(t, a, key, locker.AtLeast(time.Hour))
			locktest.Release(t, h)
			time.Sleep(time.Second)
			if done, err := b.Evict(t.Context(), key); !done || err != nil {
				t.Fatal(done, err)
			}
			began := time.Now()
			if d := freeAfter(t, []*locker.Locker{a, b}[who], began); d > time.Second {
				t.Errorf("free after %v", d)
			}
			if err := h.Release(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// While its function runs, the lock stays for what is left of its lease, as any.
func TestALockWhoseProcessDiesStaysTaken(t *testing.T) {
	const d = 20 * time.Second
	for _, released := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			a, b := lockertest.NewPair(t, locker.WithTTL(6*time.Second))
			h := locktest.Acquire(t, a, key, locker.AtLeast(d))
			began := time.Now()
			time.Sleep(5 * time.Second)
			least, most := 9*time.Second, 12*time.Second
			if released {
				locktest.Release(t, h)
				least, most = d, d+2*time.Second
			}
			lockertest.Disconnect(a)
			wantAfter(t, freeAfter(t, b, began), least, most-least)
			lockertest.Reconnect(a)
		})
	}
}

func TestALockStaysTakenOverLostAnswers(t *testing.T) {
	const d = 30 * time.Second
	grant := func(call etcdsim.Call) bool { return call.Method == "LeaseGrant" }
	move := func(call etcdsim.Call) bool {
		txn, ok := call.Request.(*pb.TxnRequest)
		return ok && len(txn.Compare) > 1
	}
	for what, is := range map[string]func(etcdsim.Call) bool{"grant": grant, "move": move} {
		for fate, f := range map[string]etcdsim.Fate{
			"request lost": {Lose: etcdsim.Request}, "answer lost": {Lose: etcdsim.Answer},
			"request swallowed": {Lose: etcdsim.Request, Hang: true}, "answer swallowed": {Lose: etcdsim.Answer, Hang: true},
			"late":    {Lose: etcdsim.Request, Hang: true, Late: 8 * time.Second},
			"refused": {Refuse: rpctypes.ErrGRPCNoSpace},
		} {
			for _, n := range []int64{1, 3, 1 << 40} {
				t.Run(what+" "+fate, func(t *testing.T) {
					simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
						c, other := sim.NewClient("a"), sim.NewClient("b")
						a, b := locktest.New(t, c.Client), locktest.New(t, other.Client)
						h := locktest.Acquire(t, a, key, locker.AtLeast(d))
						began := time.Now()
						var left atomic.Int64
						left.Store(n)
						c.SetPlan(func(call etcdsim.Call, _ *rand.Rand) etcdsim.Fate {
							if is(call) && left.Add(-1) >= 0 {
								return f
							}
							return etcdsim.Fate{}
						})
						err := h.Release(t.Context())
						if n == 1 && err != nil && f.Refuse == nil {
							t.Errorf("released: %v", err)
						}
						wantAfter(t, freeAfter(t, b, began), d, 3*time.Second)
						c.SetPlan(nil)
						if got := freeAfter(t, a, began); got > d+10*time.Second {
							t.Errorf("free for its own process after %v", got)
						}
					})
				})
			}
		}
	}
}

// Whatever becomes of the answers, Commit tells the truth, and the lock stays.
func TestACommitUnderALockThatStaysTakenOverLostAnswers(t *testing.T) {
	const d = 30 * time.Second
	for fate, f := range map[string]etcdsim.Fate{
		"request lost": {Lose: etcdsim.Request}, "answer lost": {Lose: etcdsim.Answer},
		"request swallowed": {Lose: etcdsim.Request, Hang: true}, "answer swallowed": {Lose: etcdsim.Answer, Hang: true},
		"late":    {Lose: etcdsim.Request, Hang: true, Late: 3 * time.Second},
		"refused": {Refuse: rpctypes.ErrGRPCNoSpace},
	} {
		for _, n := range []int64{1, 2, 1 << 40} {
			for _, evicted := range []bool{false, true} {
				t.Run(fate, func(t *testing.T) {
					simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
						c, other := sim.NewClient("a"), sim.NewClient("b")
						a, b := locktest.New(t, c.Client), locktest.New(t, other.Client)
						h := locktest.Acquire(t, a, key, locker.AtLeast(d))
						began := time.Now()
						var left atomic.Int64
						left.Store(n)
						c.SetPlan(func(call etcdsim.Call, _ *rand.Rand) etcdsim.Fate {
							txn, ok := call.Request.(*pb.TxnRequest)
							if ok && bytes.Contains([]byte(txn.String()), []byte("/value")) && left.Add(-1) >= 0 {
								return f
							}
							return etcdsim.Fate{}
						})
						if evicted {
							time.AfterFunc(time.Second/10, func() { _, _ = b.Evict(context.Background(), key) })
						}
						done, err := h.Commit(t.Context(), nil, clientv3.OpPut("/value", "1"))
						time.Sleep(10 * time.Second) // for what is late
						resp := proctest.Must(other.Get(t.Context(), "/value"))
						if done != (resp.Count == 1) && !errors.Is(err, locker.ErrOutcomeUnknown) || done && resp.Kvs[0].Version != 1 {
							t.Errorf("Commit: %v, %v; the value: %v", done, err, resp.Kvs)
						}
						if errors.Is(err, locker.ErrOutcomeUnknown) && n < 1<<40 {
							t.Error(err)
						}
						if !evicted {
							wantAfter(t, freeAfter(t, b, began), d, 3*time.Second)
						}
					})
				})
			}
		}
	}
}

func TestCloseSaysWhichLocksItFreesTooEarly(t *testing.T) {
	for what, f := range map[string]etcdsim.Fate{"silent": {Lose: etcdsim.Request, Hang: true}, "refused": {Refuse: rpctypes.ErrGRPCNoSpace}} {
		for _, released := range []bool{false, true} {
			t.Run(what, func(t *testing.T) {
				simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
					c := sim.NewClient("a")
					a := proctest.Must(locker.New(c.Client, locker.WithLogger(slog.New(slog.DiscardHandler))))
					h := locktest.Acquire(t, a, key, locker.AtLeast(time.Hour))
					c.SetPlan(func(call etcdsim.Call, _ *rand.Rand) etcdsim.Fate {
						if call.Method == "LeaseGrant" {
							return f
						}
						return etcdsim.Fate{}
					})
					if released {
						if err := h.Release(t.Context()); err == nil {
							t.Error("released without a lease")
						}
					}
					began := time.Now()
					err := a.Close()
					if err == nil || !strings.Contains(err.Error(), "space/key does not stay taken for 1h0m0s") || time.Since(began) > 4*time.Second {
						t.Errorf("closed after %v: %v", time.Since(began), err)
					}
					locktest.Must(t, a.Close())
				})
			})
		}
	}
}

func TestAtLeastWantsAnExclusiveLockAndATime(t *testing.T) {
	l := lockertest.New(t)
	for _, opts := range [][]locker.AcquireOption{
		{locker.AtLeast(0)}, {locker.AtLeast(-time.Second)}, {locker.AtLeast(366 * 24 * time.Hour)}, {locker.AtLeast(time.Second), locker.Shared()},
	} {
		_, err := l.Acquire(t.Context(), key, opts...)
		locktest.WantErr(t, err, locker.ErrInvalidOption)
	}
}

func TestALockStaysTakenInARealEtcd(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix := s.Prefix(t)
	const d = 3 * time.Second
	for name, end := range map[string]func(a *locker.Locker, h *locker.Hold) error{
		"release": func(_ *locker.Locker, h *locker.Hold) error { return h.Release(context.Background()) },
		"close":   func(a *locker.Locker, _ *locker.Hold) error { return a.Close() },
		"commit": func(_ *locker.Locker, h *locker.Hold) error {
			_, err := h.Commit(context.Background(), nil, clientv3.OpPut(key.ValuePath(prefix), "1"))
			return err
		},
	} {
		a, b := newLocker(t, s.Client(t), locker.WithPrefix(prefix)), newLocker(t, s.Client(t), locker.WithPrefix(prefix))
		began := time.Now()
		h := locktest.Acquire(t, a, key, locker.AtLeast(d))
		locktest.Must(t, end(a, h))
		q := proctest.Must(b.Inspect(t.Context(), key))
		if len(q.Holders) != 1 || q.Holders[0].Until.IsZero() {
			t.Errorf("%s: %+v", name, q)
		}
		if after := freeAfter(t, b, began); after < d {
			t.Errorf("%s: free after %v", name, after)
		}
	}
}
