package locker_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// wantHealthy fails the test unless l is, with so many holds.
func wantHealthy(t *testing.T, l *locker.Locker, holds int) {
	t.Helper()
	want := locker.Health{Reachable: true, Holds: holds}
	if got := l.Health(); got != want || !got.OK() {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// untilDegraded waits until l is degraded, for so long at most, and returns its Health.
func untilDegraded(t *testing.T, l *locker.Locker, within time.Duration) locker.Health {
	t.Helper()
	for began := time.Now(); l.Health().OK(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > within {
			t.Fatalf("healthy for %v: %+v", within, l.Health())
		}
	}
	h := l.Health()
	if h.Reachable || h.Since.IsZero() || !errors.Is(h.Err, locker.ErrUnavailable) || h.Closed {
		t.Errorf("degraded: %+v", h)
	}
	return h
}

func TestALockerThatWorksWaitsOrDoesNothingIsHealthy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, standby := lockertest.NewPair(t, locker.WithRetain(time.Hour))
		wantHealthy(t, l, 0)
		h := locktest.Acquire(t, l, key)
		acquireAll(t, l, several...)
		locktest.Acquire(t, l, neighbour, locker.Shared())
		locktest.Acquire(t, l, neighbour, locker.Shared())
		ctx, cancel := context.WithCancel(t.Context())
		go standby.Acquire(ctx, key)
		for range 100 {
			time.Sleep(time.Minute)
			wantHealthy(t, l, 6)
			wantHealthy(t, standby, 0)
		}
		cancel()
		synctest.Wait()
		time.Sleep(10 * time.Second)
		locktest.Release(t, h) // it is retained
		wantHealthy(t, l, 5)
		wantHealthy(t, standby, 0)
	})
}

func TestALockerWithoutEtcdIsDegradedAndRecovers(t *testing.T) {
	t.Parallel()
	for name, within := range map[string]time.Duration{
		"holds":    9 * time.Second, // the next renewal is due within 5 seconds; 1 more second, and then that lasts
		"waits":    30 * time.Second,
		"acquires": 4 * time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, other := lockertest.NewPair(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				done := make(chan struct{})
				close(done)
				switch name {
				case "holds":
					locktest.Acquire(t, l, key)
				case "waits":
					locktest.Acquire(t, other, key)
					done = make(chan struct{})
					go func() { defer close(done); _, _ = l.Acquire(ctx, key) }()
				}
				time.Sleep(time.Minute)
				lockertest.Disconnect(l)
				cut := time.Now()
				if name == "acquires" {
					done = make(chan struct{})
					go func() { defer close(done); _, _ = l.Acquire(ctx, neighbour) }()
				}
				h := untilDegraded(t, l, within)
				if h.Since.Before(cut.Add(-time.Second)) || time.Since(h.Since) < 2*time.Second {
					t.Errorf("degraded for %v, cut off for %v", time.Since(h.Since), time.Since(cut))
				}
				time.Sleep(2 * time.Second)
				if again := l.Health(); again.OK() || again.Since.Sub(h.Since).Abs() > time.Second {
					t.Errorf("degraded since %v and then %+v", h.Since, again)
				}
				lockertest.Reconnect(l)
				time.Sleep(5 * time.Second)
				if h := l.Health(); !h.OK() {
					t.Errorf("5 seconds after the end of the fault: %+v", h)
				}
				cancel()
				<-done
			})
		})
	}
}

func TestHealthCountsTheHoldsAtRisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := lockertest.New(t)
		h := locktest.Acquire(t, l, key)
		acquireAll(t, l, several...)
		lockertest.Disconnect(l)
		<-h.AtRisk()
		if got := l.Health(); got.Holds != 4 || got.AtRisk != 4 || got.OK() || got.Reachable {
			t.Errorf("at risk: %+v", got)
		}
		<-h.Context().Done()
		synctest.Wait()
		// It asks etcd for nothing any more: after a while it has no evidence.
		for lost := time.Now(); time.Since(lost) < 30*time.Second; time.Sleep(time.Second) {
			if got := l.Health(); got.Holds != 0 || got.AtRisk != 0 || got.Reachable || got.OK() {
				t.Fatalf("%v after the loss: %+v", time.Since(lost), got)
			}
		}
		time.Sleep(2 * time.Second)
		wantHealthy(t, l, 0)
		lockertest.Reconnect(l)
	})
}

func TestAFaultThatIsOverWithinASecondOrTwoIsNoBadHealth(t *testing.T) {
	t.Parallel()
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		l := newLocker(t, sim.NewClient("a").Client)
		locktest.Acquire(t, l, key)
		for range 20 {
			go sim.LoseLeader(time.Second)
			go func() {
				h, err := l.Acquire(t.Context(), neighbour)
				if err != nil {
					t.Error(err)
					return
				}
				locktest.Release(t, h)
			}()
			for range 40 {
				time.Sleep(100 * time.Millisecond)
				if h := l.Health(); !h.OK() {
					t.Fatalf("%+v", h)
				}
			}
		}
		wantHealthy(t, l, 1)
	})
}

// A refusal is an answer: other locks work.
func TestARefusalIsNoBadHealth(t *testing.T) {
	t.Parallel()
	for name, refusal := range map[string]error{"permission": rpctypes.ErrGRPCPermissionDenied, "space": rpctypes.ErrGRPCNoSpace} {
		t.Run(name, func(t *testing.T) {
			simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
				c := sim.NewClient("a")
				c.SetPlan(func(call etcdsim.Call, _ *rand.Rand) (fate etcdsim.Fate) {
					if call.Method == "Txn" {
						fate.Refuse = refusal
					}
					return fate
				})
				l := newLocker(t, c.Client)
				for range 20 {
					if _, err := l.TryAcquire(t.Context(), key); err == nil {
						t.Error("granted")
					}
					time.Sleep(time.Second)
					wantHealthy(t, l, 0)
				}
			})
		})
	}
}

func TestHealthAfterTheEndOfALocker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := lockertest.New(t)
		h := locktest.Acquire(t, l, key)
		ended := locktest.Async(t, func() error { return l.Shutdown(context.Background()) })
		synctest.Wait()
		if got := l.Health(); !got.Closed || got.OK() || got.Holds != 1 || !errors.Is(got.Err, locker.ErrClosed) {
			t.Errorf("during Shutdown: %+v", got)
		}
		locktest.Release(t, h)
		locktest.WantErr(t, ended(), nil)
		if got := l.Health(); !got.Closed || got.OK() || got.Holds != 0 || !errors.Is(got.Err, locker.ErrClosed) {
			t.Errorf("after it: %+v", got)
		}
		if got := new(locker.Locker).Health(); !got.Closed || got.OK() {
			t.Errorf("of a zero Locker: %+v", got)
		}
	})
}

// On a real etcd behind a proxy that is cut, or swallows all, and heals.
func TestHealthWhileTheNetworkIsCut(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*etcdtest.Proxied, testing.TB){"cut": (*etcdtest.Proxied).Cut, "silent": (*etcdtest.Proxied).BlackHole} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := etcdtest.Start(t)
			proxy := etcdtest.Proxy(t, s.Endpoints()[0])
			l := newLocker(t, proxy.Client(t), locker.WithPrefix(s.Prefix(t)))
			locktest.Release(t, locktest.Acquire(t, l, key))
			wantHealthy(t, l, 0)
			fault(proxy, t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			waits := locktest.Async(t, func() error {
				for { // a lease may not be granted meanwhile
					h, err := l.Acquire(ctx, key)
					if err == nil {
						return h.Release(ctx)
					}
					if ctx.Err() != nil || !errors.Is(err, locker.ErrUnavailable) {
						return err
					}
				}
			})
			locktest.Until(t, "it is degraded", func() bool { return !l.Health().OK() })
			if h := l.Health(); !errors.Is(h.Err, locker.ErrUnavailable) || time.Since(h.Since) < 2*time.Second {
				t.Errorf("%+v", h)
			}
			proxy.Heal(t)
			locktest.WantErr(t, waits(), nil)
			locktest.Until(t, "it is healthy", func() bool { return l.Health().OK() })
		})
	}
}
