package locker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// A sleeper is a hook whose HoldEnds last an hour, of all holds but those of the
// key awake.
type sleeper struct {
	locker.NopHook
	awake keyspace.Key
	told  sync.Map // by key: the holds whose HoldEnd has begun
}

func (h *sleeper) HoldEnd(_ context.Context, d locker.HoldEndData) {
	h.told.Store(d.Key, true)
	if d.Key != h.awake {
		time.Sleep(time.Hour)
	}
}

// endsWithinASecond waits for the end of the first hold, and fails the test unless all
// have ended a second later, and all HoldEnds have begun.
func endsWithinASecond(t *testing.T, h *sleeper, all []anyHold) {
	t.Helper()
	locktest.Receive(t, all[0].Context().Done())
	time.Sleep(time.Second)
	synctest.Wait()
	for _, hold := range all {
		if hold.Context().Err() == nil {
			t.Errorf("%v goes on", hold)
		}
		for k := range tokens(hold) {
			if _, told := h.told.Load(k); !told {
				t.Errorf("%v: HoldEnd waits for others", k)
			}
		}
	}
}

func TestASlowHoldEndDelaysNoOtherHold(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(l *locker.Locker){
		"lost lease": func(l *locker.Locker) { lockertest.Expire(l) },
		"closed":     func(l *locker.Locker) { go l.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				names := keyspace.MustNew[int]("slow")
				h := &sleeper{awake: names.Key(99)}
				l, b := lockertest.NewPair(t, locker.WithHook(h))
				group, err := l.AcquireAll(t.Context(), []keyspace.Key{names.Key(1), names.Key(2), names.Key(3)})
				if err != nil {
					t.Fatal(err)
				}
				all := []anyHold{group}
				for i := range 20 {
					all = append(all, locktest.Acquire(t, l, names.Key(10+i)))
				}
				quick := locktest.Acquire(t, l, h.awake)
				end(l)
				endsWithinASecond(t, h, append(all, quick))
				if name == "lost lease" {
					locktest.Acquire(t, l, h.awake)
				} else {
					locktest.Acquire(t, b, h.awake)
				}
			})
		})
	}
}

func TestASlowHookOfOneHeldTooLongDelaysNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		names := keyspace.MustNew[int]("slow")
		h := &sleeper{awake: names.Key(99)}
		l := lockertest.New(t, locker.WithHook(h), locker.WithMonitorTicks(time.Millisecond))
		all := []anyHold{locktest.Acquire(t, l, names.Key(1), locker.MaxHeld(time.Millisecond)), locktest.Acquire(t, l, h.awake, locker.MaxHeld(time.Millisecond))}
		endsWithinASecond(t, h, all)
		locktest.Acquire(t, l, h.awake)
	})
}

// A badHandler misbehaves in each of its methods.
type badHandler struct{ way func() }

func (h badHandler) Enabled(context.Context, slog.Level) bool  { h.way(); return true }
func (h badHandler) Handle(context.Context, slog.Record) error { h.way(); return nil }
func (h badHandler) WithAttrs([]slog.Attr) slog.Handler        { h.way(); return h }
func (h badHandler) WithGroup(string) slog.Handler             { h.way(); return h }

func TestALoggerThatPanicsOrEndsItsGoroutineHurtsNothing(t *testing.T) {
	t.Parallel()
	for name, way := range map[string]func(){"panics": func() { panic("log") }, "exits": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hook := &balance{trap: func(string) { panic("hook") }} // each is logged
				l, b := lockertest.NewPair(t, locker.WithLogger(slog.New(badHandler{way})), locker.WithHook(hook), locker.WithMonitorTicks(time.Millisecond),
					locker.WithTimeoutCallback(func(string, time.Duration) { panic("callback") }))
				locktest.Release(t, locktest.Acquire(t, l, key))
				lost := locktest.Acquire(t, l, key)
				lockertest.Expire(l)
				locktest.Receive(t, lost.Context().Done())
				over := locktest.Acquire(t, l, key, locker.MaxHeld(time.Millisecond))
				locktest.Receive(t, over.Context().Done())
				cut := locktest.Acquire(t, l, neighbour)
				lockertest.Disconnect(l)
				locktest.Receive(t, cut.Context().Done())
				lockertest.Reconnect(l)
				locktest.Release(t, locktest.Acquire(t, b, key))
				locktest.Release(t, locktest.Acquire(t, l, key))
			})
		})
	}
}

func TestASuccessCallbackThatDoesNotReturnLeavesTheLockFree(t *testing.T) {
	t.Parallel()
	errMine := errors.New("mine")
	for name, way := range map[string]func(){"panics": func() { panic(errMine) }, "exits": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var armed = true
				l, b := lockertest.NewPair(t, locker.WithSuccessCallback(func(string) {
					if armed {
						way()
					}
				}))
				for what, call := range map[string]func(){
					"Acquire":    func() { _, _ = l.Acquire(t.Context(), key) },
					"AcquireAll": func() { _, _ = l.AcquireAll(t.Context(), []keyspace.Key{key, neighbour}) },
					"TryAcquire": func() { _, _ = l.TryAcquire(t.Context(), key) },
				} {
					caught := make(chan string, 1)
					go func() {
						defer func() { caught <- fmt.Sprint(recover()) }()
						call()
					}()
					if got := locktest.Receive(t, caught); name == "panics" && got != errMine.Error() {
						t.Errorf("%s: the caller recovers %s", what, got)
					}
					armed = false
					for _, l := range []*locker.Locker{b, l} {
						locktest.Release(t, locktest.Acquire(t, l, key))
						locktest.Release(t, locktest.Acquire(t, l, neighbour))
					}
					armed = true
				}
			})
		})
	}
}

// A slowEnd is a hook whose HoldEnd of a shared hold takes a second.
type slowEnd struct {
	locker.NopHook
	begun, done atomic.Int64
}

func (s *slowEnd) HoldEnd(context.Context, locker.HoldEndData) {
	if s.begun.Add(1) == 1 {
		time.Sleep(time.Second)
	}
	s.done.Add(1)
}

func TestALockPassesOnWhenAllWhoSharedItWereTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hook := new(slowEnd)
		l := lockertest.New(t, locker.WithHook(hook))
		first, second := locktest.Acquire(t, l, key, locker.Shared()), locktest.Acquire(t, l, key, locker.Shared())
		released := locktest.Async(t, func() error { return first.Release(context.Background()) })
		synctest.Wait()
		locktest.Release(t, second)
		h := locktest.Acquire(t, l, key)
		if n := hook.done.Load(); n != 2 {
			t.Errorf("granted when %d of 2 ends were told", n)
		}
		locktest.Release(t, h)
		locktest.WantErr(t, released(), nil)
	})
}
