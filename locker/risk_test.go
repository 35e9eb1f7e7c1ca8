package locker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// riskyHold is a Hold or a HoldSet.
type riskyHold interface {
	anyHold
	AtRisk() <-chan struct{}
	Remaining() time.Duration
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// A riskDiary is a hook that writes down what it hears of holds.
type riskDiary struct {
	locker.NopHook
	mu    sync.Mutex
	lines []string
}

func (h *riskDiary) add(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, fmt.Sprintf(format, args...))
}

func (h *riskDiary) read() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.lines)
}

func (h *riskDiary) HoldRisk(_ context.Context, d locker.HoldRiskData) {
	h.add("%v at risk=%v left=%v", d.Key, d.AtRisk, d.Remaining.Round(time.Second))
}

func (h *riskDiary) HoldEnd(_ context.Context, d locker.HoldEndData) {
	h.add("%v ends at risk=%v: %v", d.Key, d.AtRisk, reasonIn(d.Cause))
}

func reasonIn(err error) string {
	if lost, ok := errors.AsType[*locker.LostError](err); ok {
		return lost.Reason.String()
	}
	return err.Error()
}

// held acquires in every way there is.
var held = map[string]func(t *testing.T, l *locker.Locker) riskyHold{
	"alone":  func(t *testing.T, l *locker.Locker) riskyHold { return locktest.Acquire(t, l, key) },
	"shared": func(t *testing.T, l *locker.Locker) riskyHold { return locktest.Acquire(t, l, key, locker.Shared()) },
	"set":    func(t *testing.T, l *locker.Locker) riskyHold { return acquireAll(t, l, several...) },
	"retained": func(t *testing.T, l *locker.Locker) riskyHold {
		locktest.Release(t, locktest.Acquire(t, l, key))
		time.Sleep(time.Minute)
		return locktest.Acquire(t, l, key)
	},
}

func TestAHoldIsAtRiskBeforeItIsLost(t *testing.T) {
	t.Parallel()
	for name, acquire := range held {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := lockertest.New(t, locker.WithTTL(20*time.Second), locker.WithRetain(time.Hour))
				h := acquire(t, l)
				risk := h.AtRisk()
				time.Sleep(time.Minute)
				if closed(risk) || h.AtRisk() != risk {
					t.Fatal("at risk, or another channel, though renewals are answered")
				}
				lockertest.Disconnect(l)
				<-risk
				if left := h.Remaining(); left != 5*time.Second || h.Err() != nil || h.AtRisk() != risk {
					t.Errorf("at risk with %v left, ended with %v, another channel: %v", left, h.Err(), h.AtRisk() != risk)
				}
				began := time.Now()
				<-h.Context().Done()
				locktest.WantLost(t, context.Cause(h.Context()), locker.ReasonDeadline)
				if took := time.Since(began); took != 5*time.Second || !closed(h.AtRisk()) {
					t.Errorf("lost %v after it was at risk; then at risk: %v", took, closed(h.AtRisk()))
				}
			})
		})
	}
}

func TestAHoldWhoseRenewalsGoOnIsAtRiskNoMore(t *testing.T) {
	t.Parallel()
	for name, acquire := range held {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := lockertest.New(t, locker.WithRetain(time.Hour))
				h := acquire(t, l)
				for range 3 {
					risk := h.AtRisk()
					lockertest.Disconnect(l)
					<-risk
					lockertest.Reconnect(l)
					time.Sleep(time.Second)
					if h.Err() != nil || !closed(risk) || closed(h.AtRisk()) || h.Remaining() < 7*time.Second {
						t.Fatalf("ended with %v, the old channel is closed: %v, the new one: %v, %v left", h.Err(), closed(risk), closed(h.AtRisk()), h.Remaining())
					}
				}
				locktest.Release(t, h)
			})
		})
	}
}

func TestHooksHearOfHoldsAtRisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var hook riskDiary
		l := lockertest.New(t, locker.WithHook(&hook))
		h := locktest.Acquire(t, l, key)
		set := acquireAll(t, l, several...)
		lockertest.Disconnect(l)
		<-h.AtRisk()
		synctest.Wait()
		lockertest.Reconnect(l)
		time.Sleep(time.Second)
		lockertest.Disconnect(l)
		<-set.AtRisk()
		synctest.Wait()
		lockertest.Reconnect(l)
		if err := set.Release(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		lockertest.Disconnect(l)
		<-h.Context().Done()
		synctest.Wait()
		for _, k := range []keyspace.Key{key, several[0], several[1], several[2]} {
			var got []string
			for _, line := range hook.read() {
				if rest, mine := strings.CutPrefix(line, k.String()+" "); mine {
					got = append(got, rest)
				}
			}
			want := []string{"at risk=true left=4s", "at risk=false left=13s", "at risk=true left=4s", "ends at risk=true: " + locker.ErrReleased.Error()}
			if k == key {
				want = append(want[:3:3], "at risk=false left=13s", "at risk=true left=4s", "ends at risk=true: "+locker.ReasonDeadline.String())
			}
			if !slices.Equal(got, want) {
				t.Errorf("%v: got\n%q\nwant\n%q", k, got, want)
			}
		}
	})
}

// muteRenewals is a plan that delays renewals, and nothing else, for an hour.
func muteRenewals(call etcdsim.Call, _ *rand.Rand) (fate etcdsim.Fate) {
	if call.Method == "LeaseKeepAlive" {
		fate.Send = time.Hour
	}
	return fate
}

// atRisk runs f with a Locker whose lease is at risk, and a shared hold under it. Only renewals are not answered, until mend is called.
func atRisk(t *testing.T, hooks locker.Option, f func(t *testing.T, l *locker.Locker, h *locker.Hold, mend func())) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		l := newLocker(t, c.Client, hooks)
		h := locktest.Acquire(t, l, key, locker.Shared())
		c.SetPlan(muteRenewals)
		<-h.AtRisk()
		synctest.Wait()
		f(t, l, h, func() { c.SetPlan(nil); time.Sleep(3 * time.Second) })
	})
}

func TestAHoldThatBeginsAtRiskSaysSo(t *testing.T) {
	t.Parallel()
	var hook riskDiary
	atRisk(t, locker.WithHook(&hook), func(t *testing.T, l *locker.Locker, h *locker.Hold, mend func()) {
		next := locktest.Acquire(t, l, key, locker.Shared())
		if !closed(next.AtRisk()) || next.Err() != nil {
			t.Errorf("at risk: %v, ended with %v", closed(next.AtRisk()), next.Err())
		}
		mend()
		if closed(next.AtRisk()) || closed(h.AtRisk()) {
			t.Error("still at risk")
		}
		yes, no := key.String()+" at risk=true left=4s", key.String()+" at risk=false left=14s"
		if got, want := hook.read(), []string{yes, yes, no, no}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestNobodyWaitsForTheRiskOfAHoldThatHasEnded(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(l *locker.Locker, h riskyHold) error{
		"released": func(_ *locker.Locker, h riskyHold) error { return h.Release(context.Background()) },
		"closed":   func(l *locker.Locker, _ riskyHold) error { return l.Close() },
		"expired":  func(l *locker.Locker, _ riskyHold) error { lockertest.Expire(l); return nil },
	} {
		for how, acquire := range held {
			t.Run(name+"/"+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := lockertest.New(t, locker.WithRetain(time.Hour))
					h := acquire(t, l)
					first := make(chan bool, 1)
					go func() {
						<-h.AtRisk()
						first <- h.Context().Err() == nil || h.Err() != nil
					}()
					synctest.Wait()
					if err := end(l, h); err != nil {
						t.Error(err)
					}
					if !<-first {
						t.Error("Context is done, and Err is nil")
					}
					if <-h.Context().Done(); !closed(h.AtRisk()) {
						t.Error("open after the end")
					}
				})
			})
		}
	}
}

// The clock of the wall says how long the machine slept.
func TestAHoldIsAtRiskAtOnceAfterTheMachineSlept(t *testing.T) {
	t.Parallel()
	for name, it := range map[string]struct {
		slept time.Duration
		lost  bool
	}{"a little": {5 * time.Second, false}, "long": {10 * time.Second, true}, "very long": {time.Hour, true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := lockertest.New(t)
				var mu sync.Mutex
				var slept time.Duration
				locker.SetClocks(l, func() time.Time { mu.Lock(); defer mu.Unlock(); return time.Now().Add(slept) })
				h := locktest.Acquire(t, l, key)
				time.Sleep(4900 * time.Millisecond) // a renewal is due soon
				risk := h.AtRisk()
				mu.Lock()
				slept = it.slept
				mu.Unlock()
				if !closed(h.AtRisk()) || h.AtRisk() != risk {
					t.Error("not at risk, or told by another channel")
				}
				if lost := h.Err() != nil; lost != it.lost {
					t.Errorf("lost: %v, want %v", lost, it.lost)
				}
				time.Sleep(time.Second)
				if !it.lost && closed(h.AtRisk()) {
					t.Error("still at risk when the renewal was answered")
				}
			})
		})
	}
}

func TestALeaderThatChangesPutsNoHoldAtRisk(t *testing.T) {
	t.Parallel()
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		h := locktest.Acquire(t, newLocker(t, sim.NewClient("a").Client), key)
		risk := h.AtRisk()
		for range 20 {
			time.Sleep(3700 * time.Millisecond)
			sim.LoseLeader(2 * time.Second)
		}
		if closed(risk) || h.Err() != nil {
			t.Errorf("at risk: %v; %v", closed(risk), h.Err())
		}
	})
}

// A trap is a hook whose HoldRisk does harm.
type trap struct {
	locker.NopHook
	spring func()
}

func (h trap) HoldRisk(context.Context, locker.HoldRiskData) { h.spring() }

func TestAHoldRiskThatDoesHarmHurtsNothing(t *testing.T) {
	t.Parallel()
	for name, spring := range map[string]func(){"panics": func() { panic("hook") }, "exits": runtime.Goexit, "is slow": func() { time.Sleep(time.Second) }} {
		t.Run(name, func(t *testing.T) {
			var after riskDiary
			atRisk(t, locker.WithHook(trap{spring: spring}, &after), func(t *testing.T, l *locker.Locker, h *locker.Hold, mend func()) {
				next := locktest.Acquire(t, l, key, locker.Shared()) // this goroutine waits for the hook
				synctest.Wait()
				if got := after.read(); len(got) != 2 {
					t.Errorf("the other hook has heard %q", got)
				}
				mend()
				for _, h := range []*locker.Hold{h, next} {
					if closed(h.AtRisk()) {
						t.Error("still at risk")
					}
					locktest.Release(t, h)
				}
				time.Sleep(time.Second)
				if got := after.read(); len(got) != 6 {
					t.Errorf("the other hook has heard %q", got)
				}
				locktest.Release(t, locktest.Acquire(t, l, key))
			})
		})
	}
}

// A HoldRisk that is stuck delays neither the loss nor the next holder.
func TestAHoldRiskThatIsStuckDelaysNobodyElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, b := lockertest.NewPair(t, locker.WithHook(trap{spring: func() { time.Sleep(time.Hour) }}))
		h, other := locktest.Acquire(t, l, key), locktest.Acquire(t, l, neighbour)
		lockertest.Disconnect(l)
		<-h.AtRisk()
		if !closed(other.AtRisk()) {
			t.Error("the other hold is not at risk")
		}
		<-h.Context().Done()
		began := time.Now()
		locktest.Acquire(t, b, key)
		if took := time.Since(began); took > 2*time.Second || other.Err() == nil {
			t.Errorf("the next holder waits for %v; %v", took, other.Err())
		}
		lockertest.Reconnect(l)
	})
}

// On a real etcd behind a proxy that swallows all, and heals.
func TestAHoldIsAtRiskWhileTheNetworkIsCut(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	proxy := etcdtest.Proxy(t, s.Endpoints()[0])
	var hook riskDiary
	l := newLocker(t, proxy.Client(t), locker.WithPrefix(s.Prefix(t)), locker.WithTTL(12*time.Second), locker.WithHook(&hook))
	all := []riskyHold{locktest.Acquire(t, l, key), locktest.Acquire(t, l, neighbour, locker.Shared()), acquireAll(t, l, several...)}
	risks := make([]<-chan struct{}, len(all))
	for i, h := range all {
		risks[i] = h.AtRisk()
	}
	proxy.BlackHole(t) // not Cut: after that, gRPC may pause for longer than is left
	for i, h := range all {
		locktest.Receive(t, risks[i])
		if left := h.Remaining(); left <= 0 || left > 3*time.Second {
			t.Errorf("at risk with %v left, %v", left, h.Err())
		}
	}
	proxy.Heal(t)
	for i, h := range all {
		locktest.Until(t, "it is at risk no more", func() bool { return !closed(h.AtRisk()) })
		if !closed(risks[i]) || h.Err() != nil {
			t.Errorf("the first channel is closed: %v; %v", closed(risks[i]), h.Err())
		}
	}
	locktest.Until(t, "hooks have heard it", func() bool { return len(hook.read()) == 2*5 })
	for _, h := range all {
		locktest.Release(t, h)
	}
	if got := hook.read(); len(got) != 3*5 {
		t.Errorf("hooks heard %q", got)
	}
}
