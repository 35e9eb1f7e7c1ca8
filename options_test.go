package elock_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/phpgao/elock"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
)

func TestTheSuccessCallbackRunsOnceForEachLockWhileItIsHeld(t *testing.T) {
	t.Parallel()
	b, _, _, prefix := newPair(t)
	var called []string // the callback runs on this goroutine
	a := beside(t, prefix, elock.WithSuccessCallback(func(name string) {
		called = append(called, name)
		locktest.WantErr(t, b.Lock(t.Context(), keyName, 15), locker.ErrLocked)
	}))
	for form, hold := range holding {
		want := 1
		if form == "Acquire" { // is not a classic call
			want = 0
		}
		called = nil
		hold(t, a, func() {
			if len(called) != want || want > 0 && called[0] != keyName {
				t.Errorf("%s: callbacks %q", form, called)
			}
			locktest.WantErr(t, a.Lock(t.Context(), keyName, 15), locker.ErrLocked)
		})
		if len(called) != want {
			t.Errorf("%s: a Lock that failed called back: %q", form, called)
		}
	}
}

func TestASuccessCallbackThatDoesNotReturnLeavesNoLock(t *testing.T) {
	t.Parallel()
	for name, way := range map[string]func(){"panics": func() { panic("oops") }, "exits": runtime.Goexit} {
		for form, call := range map[string]func(l *elock.ELocker){
			"Lock":          func(l *elock.ELocker) { _ = l.Lock(t.Context(), keyName, 15) },
			"RunFuncInLock": func(l *elock.ELocker) { _, _ = l.RunFuncInLock(t.Context(), keyName, 15, func() { t.Error("it ran") }) },
		} {
			t.Run(form+" "+name, func(t *testing.T) {
				t.Parallel()
				b, _, client, prefix := newPair(t)
				a := beside(t, prefix, elock.WithSuccessCallback(func(string) { way() }))
				var p any
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					p = locktest.PanicOf(func() { call(a) })
				}()
				locktest.Receive(t, ended)
				if (p == "oops") != (name == "panics") {
					t.Errorf("panic %v", p)
				}
				wantFree(t, client, prefix)
				locktest.WantErr(t, a.Unlock(t.Context(), keyName), locker.ErrNotHeld)
				lock(t, b, keyName)
			})
		}
	}
}

func TestCallbacksMayCallTheELocker(t *testing.T) {
	t.Parallel()
	_, _, _, prefix := newPair(t)
	t.Run("on success", func(t *testing.T) {
		errs := make(chan error, 4)
		var l *elock.ELocker
		var called atomic.Bool
		l = beside(t, prefix, elock.WithSuccessCallback(func(name string) {
			if called.CompareAndSwap(false, true) {
				errs <- l.Lock(t.Context(), "other", 15)
				errs <- l.Unlock(t.Context(), "other")
				errs <- l.Lock(t.Context(), name, 15)
				errs <- l.Unlock(t.Context(), name) // before Lock has returned
			}
		}))
		done := locktest.Async(t, func() error { return l.Lock(t.Context(), keyName, 15) })
		for _, want := range []error{nil, nil, locker.ErrLocked, nil} {
			locktest.WantErr(t, locktest.Receive(t, errs), want)
		}
		locktest.WantErr(t, done(), nil)
		locktest.WantErr(t, l.Unlock(t.Context(), keyName), locker.ErrNotHeld)
	})
	t.Run("on timeout", func(t *testing.T) {
		errs := make(chan error, 3)
		var l *elock.ELocker
		var called atomic.Bool
		l = beside(t, prefix, append(impatient(), elock.WithTimeoutCallback(func(name string, _ time.Duration) {
			if called.CompareAndSwap(false, true) {
				errs <- l.Unlock(t.Context(), name)
				errs <- l.Lock(t.Context(), "other", 15)
				errs <- l.Lock(t.Context(), name, 15)
			}
		}))...)
		lock(t, l, keyName)
		for _, want := range []error{locker.ErrMaxHeld, nil, nil} {
			locktest.WantErr(t, locktest.Receive(t, errs), want)
		}
	})
}

func TestTheTimeoutCallbackGetsTheNameAndTheTimeHeld(t *testing.T) {
	t.Parallel()
	type timeout struct {
		name string
		held time.Duration
	}
	const limit = 30 * time.Millisecond
	timeouts := make(chan timeout, 10)
	began := time.Now()
	a, _, client, prefix := newPair(t, elock.WithMaxHeldTime(limit), elock.WithMonitorTicks(time.Millisecond),
		elock.WithTimeoutCallback(func(name string, held time.Duration) { timeouts <- timeout{name, held} }))
	lock(t, a, keyName)
	got := locktest.Receive(t, timeouts)
	if got.name != keyName || got.held <= limit || got.held > time.Since(began) {
		t.Errorf("callback with %q, %v; want %q, more than %v, at most %v", got.name, got.held, keyName, limit, time.Since(began))
	}
	wantFree(t, client, prefix)
	locktest.WantErr(t, a.Unlock(t.Context(), keyName), locker.ErrMaxHeld)
}

func TestRunFuncInLockThatRunsTooLongSaysSo(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t, impatient()...)
	ran, err := a.RunFuncInLock(t.Context(), keyName, 15, func() { untilLocked(t, b, keyName) })
	locktest.WantErr(t, err, locker.ErrMaxHeld)
	if ran <= 0 {
		t.Errorf("ran %v", ran)
	}
}

func TestTheRandomSleepLiesBetweenTheGrantAndTheFunction(t *testing.T) {
	t.Parallel()
	const least = 20 * time.Millisecond
	for name, sleep := range map[string]elock.Opt{
		"in order": elock.WithRandomSleep(least, 2*least),
		"swapped":  elock.WithRandomSleep(2*least, least),
		"exact":    elock.WithRandomSleep(least, least),
	} {
		_, _, _, prefix := newPair(t)
		var granted time.Time
		a := beside(t, prefix, sleep, elock.WithSuccessCallback(func(string) { granted = time.Now() }))
		var slept time.Duration
		fn := func() { slept = time.Since(granted) }
		forms := map[string]func() error{
			"RunFuncInLock": func() error { return locktest.Second(a.RunFuncInLock(t.Context(), keyName, 15, fn)) },
			"RunJobInLock":  func() error { return locktest.Second(a.RunJobInLock(t.Context(), keyName, 15, job(fn))) },
		}
		for form, run := range forms {
			slept = 0
			locktest.WantErr(t, run(), nil)
			if slept < least {
				t.Errorf("%s, %s: slept %v, want %v at least", name, form, slept, least)
			}
		}
	}
}

func TestOnlyTheRunFormsSleep(t *testing.T) {
	t.Parallel()
	a, _, _, _ := newPair(t, elock.WithRandomSleep(time.Hour, time.Hour))
	lock(t, a, keyName)
	unlock(t, a, keyName)
	run := func(context.Context, *locker.Hold) error { return nil }
	locktest.WantErr(t, a.Locker().RunInLock(t.Context(), key, run), nil)
}

func TestTheEndOfTheHoldOrTheContextEndsTheRandomSleep(t *testing.T) {
	t.Parallel()
	rows := map[string]struct {
		end  func(t *testing.T, a, b *elock.ELocker, cancel func())
		want error
	}{
		"eviction": {func(t *testing.T, _, b *elock.ELocker, _ func()) { evict(t, b) }, locker.ErrLost},
		"Close":    {func(t *testing.T, a, _ *elock.ELocker, _ func()) { locktest.WantErr(t, a.Close(), nil) }, locker.ErrClosed},
		"context":  {func(_ *testing.T, _, _ *elock.ELocker, cancel func()) { cancel() }, context.Canceled},
	}
	for name, r := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, _, _, prefix := newPair(t)
			held := make(chan struct{}, 1)
			a := beside(t, prefix, elock.WithRandomSleep(time.Hour, time.Hour),
				elock.WithSuccessCallback(func(string) { held <- struct{}{} }))
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			result := locktest.Async(t, func() error {
				return locktest.Second(a.RunFuncInLock(ctx, keyName, 15, func() { t.Error("the function ran") }))
			})
			locktest.Receive(t, held)
			r.end(t, a, b, cancel)
			err := result()
			locktest.WantErr(t, err, r.want)
			if errors.Is(err, context.Canceled) != (name == "context") {
				t.Errorf("got error %v", err)
			}
			untilLocked(t, b, keyName)
		})
	}
}

func TestTheRandomSleepTakesAnyBounds(t *testing.T) {
	t.Parallel()
	a, _, _, _ := newPair(t, elock.WithRandomSleep(0, math.MaxInt64))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := a.RunFuncInLock(ctx, keyName, 15, func() { t.Error("the function ran") })
	locktest.WantErr(t, err, context.DeadlineExceeded)
}

// All options at once, with everything that can happen to a lock.
func TestTheOptionsGoTogether(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	granted, timedOut := map[string]int{}, map[string]int{}
	count := func(m map[string]int, name string) {
		mu.Lock()
		defer mu.Unlock()
		m[name]++
	}
	a, _, _, _ := newPair(t,
		elock.WithMaxHeldTime(5*time.Millisecond), elock.WithMonitorTicks(time.Millisecond),
		elock.WithRandomSleep(0, 10*time.Millisecond),
		elock.WithSuccessCallback(func(name string) { count(granted, name) }),
		elock.WithTimeoutCallback(func(name string, _ time.Duration) { count(timedOut, name) }))
	ended := map[string]int{}
	for i := range 30 {
		name := fmt.Sprint(i)
		_, err := a.RunFuncInLock(t.Context(), name, 15, func() { <-time.After(rand.N(5 * time.Millisecond)) })
		if err != nil {
			locktest.WantErr(t, err, locker.ErrMaxHeld)
			ended[name]++
		}
	}
	locktest.Until(t, "all callbacks have run", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(timedOut) == len(ended)
	})
	if len(granted) != 30 {
		t.Errorf("%d of 30 grants called back", len(granted))
	}
	for name, n := range timedOut {
		if n != 1 || ended[name] != 1 {
			t.Errorf("lock %s: %d callbacks, %d ends", name, n, ended[name])
		}
	}
}
