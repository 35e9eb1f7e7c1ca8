package locker_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/locker"
)

func TestLocksLiveUnderThePrefix(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	client, unique := s.Client(t), s.Prefix(t)
	rows := []struct {
		opts []locker.Option
		key  string
		dir  string
	}{
		{nil, unique, "/elock/" + unique + "/"},
		{nil, unique + "/k", "/elock/" + unique + ":/k/"},
		{[]locker.Option{locker.WithPrefix(unique)}, "k", "/" + unique + "/k/"},
		{[]locker.Option{locker.WithPrefix("/" + unique + "/")}, "l", "/" + unique + "/l/"},
		{[]locker.Option{locker.WithPrefix(unique + "/sub")}, "k/l", "/" + unique + ":/sub/k:/l/"},
	}
	for _, r := range rows {
		l := newLocker(t, client, r.opts...)
		lock(t, l, r.key)
		resp, err := client.Get(t.Context(), r.dir, clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil || resp.Count != 1 {
			t.Errorf("lock %q: %v, %v; want one key in %s", r.key, resp, err, r.dir)
		}
		unlock(t, l, r.key)
	}
}

func TestTheSuccessCallbackRunsOnceForEachAcquireWhileTheLockIsHeld(t *testing.T) {
	t.Parallel()
	b, _, _, prefix := newPair(t)
	var called []string // the callback runs on this goroutine
	a := beside(t, prefix, locker.WithSuccessCallback(func(name string) {
		called = append(called, name)
		wantErr(t, b.Lock(t.Context(), keyName, 15), locker.ErrLocked)
	}))
	for form, hold := range holding {
		called = nil
		hold(t, a, func() {
			if len(called) != 1 || called[0] != keyName {
				t.Errorf("%s: callbacks %q", form, called)
			}
			wantErr(t, a.Lock(t.Context(), keyName, 15), locker.ErrLocked)
		})
		if len(called) != 1 {
			t.Errorf("%s: a Lock that failed called back: %q", form, called)
		}
	}
}

func TestASuccessCallbackThatExitsItsGoroutineLeavesNoLock(t *testing.T) {
	t.Parallel()
	b, _, _, prefix := newPair(t)
	a := beside(t, prefix, locker.WithSuccessCallback(func(string) { runtime.Goexit() }))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = a.Lock(context.Background(), keyName, 15)
	}()
	receive(t, ended)
	lock(t, b, keyName)
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
	a, _, client, prefix := newPair(t, locker.WithMaxHeldTime(limit), locker.WithMonitorTicks(time.Millisecond),
		locker.WithTimeoutCallback(func(name string, held time.Duration) { timeouts <- timeout{name, held} }))
	lock(t, a, keyName)
	got := receive(t, timeouts)
	if got.name != keyName || got.held <= limit || got.held > time.Since(began) {
		t.Errorf("callback with %q, %v; want %q, more than %v, at most %v", got.name, got.held, keyName, limit, time.Since(began))
	}
	if left := keys(t, client, prefix); len(left) != 0 {
		t.Errorf("called back before the lock was free: %q", left)
	}
	wantErr(t, a.Unlock(t.Context(), keyName), locker.ErrMaxHeld)
}

func TestATimeoutCallbackThatHangsOrPanicsCostsNoLock(t *testing.T) {
	t.Parallel()
	var log lines
	hang := make(chan struct{})
	other := make(chan string, 1)
	a, _, _, _ := newPair(t, append(impatient(), log.option(), locker.WithTimeoutCallback(func(name string, _ time.Duration) {
		switch name {
		case "hangs":
			<-hang
		case "panics":
			panic("oops")
		default:
			other <- name
		}
	}))...)
	defer close(hang)
	kept, err := a.Acquire(t.Context(), key, locker.MaxHeld(0))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"hangs", "panics", "other"} {
		lock(t, a, name)
	}
	if name := receive(t, other); name != "other" {
		t.Errorf("callback of %q", name)
	}
	until(t, "the panic is logged", func() bool { return strings.Contains(log.String(), "panicked") })
	for _, want := range []string{"level=ERROR", "key=panics", "panic=oops", "classic_options_test.go"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in the log: %s", want, &log)
		}
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
		t.Errorf("%d errors in the log, want 1: %s", n, &log)
	}
	if n := strings.Count(log.String(), "held too long"); n != 3 {
		t.Errorf("%d timeouts in the log, want 3: %s", n, &log)
	}
	wantErr(t, kept.Err(), nil)
	release(t, kept)
	for _, name := range []string{"hangs", "panics", "other"} {
		untilLocked(t, a, name)
	}
}

func TestTheMonitorSparesLocksWithoutALimitAndThoseItHasNotLookedAt(t *testing.T) {
	t.Parallel()
	_, _, _, prefix := newPair(t)
	unlimited := beside(t, prefix, locker.WithMaxHeldTime(0), locker.WithMonitorTicks(time.Millisecond))
	seldom := beside(t, prefix, locker.WithMaxHeldTime(time.Millisecond), locker.WithMonitorTicks(time.Hour))
	defaults := beside(t, prefix, locker.WithMonitorTicks(time.Millisecond))
	soon := beside(t, prefix, impatient()...)
	lock(t, unlimited, "unlimited")
	lock(t, seldom, "seldom")
	lock(t, defaults, "defaults")
	for range 5 { // younger locks come and go
		untilLocked(t, soon, keyName)
	}
	unlock(t, unlimited, "unlimited")
	unlock(t, seldom, "seldom")
	unlock(t, defaults, "defaults")
}

func TestRunFuncInLockThatRunsTooLongSaysSo(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t, impatient()...)
	ran, err := a.RunFuncInLock(t.Context(), keyName, 15, func() { untilLocked(t, b, keyName) })
	wantErr(t, err, locker.ErrMaxHeld)
	if ran <= 0 {
		t.Errorf("ran %v", ran)
	}
}

func TestTheRandomSleepLiesBetweenTheGrantAndTheFunction(t *testing.T) {
	t.Parallel()
	const least = 20 * time.Millisecond
	for name, sleep := range map[string]locker.Option{
		"in order": locker.WithRandomSleep(least, 2*least),
		"swapped":  locker.WithRandomSleep(2*least, least),
		"exact":    locker.WithRandomSleep(least, least),
	} {
		_, _, _, prefix := newPair(t)
		var granted time.Time
		a := beside(t, prefix, sleep, locker.WithSuccessCallback(func(string) { granted = time.Now() }))
		var slept time.Duration
		fn := func() { slept = time.Since(granted) }
		forms := map[string]func() error{
			"RunFuncInLock": func() error { _, err := a.RunFuncInLock(t.Context(), keyName, 15, fn); return err },
			"RunJobInLock":  func() error { _, err := a.RunJobInLock(t.Context(), keyName, 15, job(fn)); return err },
			"RunInLock": func() error {
				return a.RunInLock(t.Context(), key, func(context.Context, *locker.Hold) error { fn(); return nil })
			},
		}
		for form, run := range forms {
			slept = 0
			wantErr(t, run(), nil)
			if slept < least {
				t.Errorf("%s, %s: slept %v, want %v at least", name, form, slept, least)
			}
		}
	}
}

func TestOnlyTheRunFormsSleep(t *testing.T) {
	t.Parallel()
	a, _, _, _ := newPair(t, locker.WithRandomSleep(time.Hour, time.Hour))
	lock(t, a, keyName)
	unlock(t, a, keyName)
	release(t, acquire(t, a, key))
}

func TestTheEndOfTheHoldEndsTheRandomSleep(t *testing.T) {
	t.Parallel()
	rows := map[string]struct {
		end  func(t *testing.T, a, b *locker.Locker)
		want error
	}{
		"eviction": {func(t *testing.T, _, b *locker.Locker) { evict(t, b) }, locker.ErrLost},
		"Close":    {func(t *testing.T, a, _ *locker.Locker) { wantErr(t, a.Close(), nil) }, locker.ErrClosed},
	}
	for name, r := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, _, _, prefix := newPair(t)
			held := make(chan struct{}, 1)
			a := beside(t, prefix, locker.WithRandomSleep(time.Hour, time.Hour),
				locker.WithSuccessCallback(func(string) { held <- struct{}{} }))
			result := async(t, func() error {
				_, err := a.RunFuncInLock(context.Background(), keyName, 15, func() { t.Error("the function ran") })
				return err
			})
			receive(t, held)
			r.end(t, a, b)
			err := result()
			wantErr(t, err, r.want)
			if errors.Is(err, context.Canceled) {
				t.Errorf("the caller cancelled nothing: %v", err)
			}
		})
	}
}

func TestTheRandomSleepTakesAnyBounds(t *testing.T) {
	t.Parallel()
	a, _, _, _ := newPair(t, locker.WithRandomSleep(0, math.MaxInt64))
	_, err := a.RunFuncInLock(brief(t), keyName, 15, func() { t.Error("the function ran") })
	wantErr(t, err, context.DeadlineExceeded)
}

// All options at once, with everything that can happen to a lock.
func TestTheClassicOptionsGoTogether(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	granted, timedOut := map[string]int{}, map[string]int{}
	count := func(m map[string]int, name string) {
		mu.Lock()
		defer mu.Unlock()
		m[name]++
	}
	a, _, _, _ := newPair(t,
		locker.WithMaxHeldTime(5*time.Millisecond), locker.WithMonitorTicks(time.Millisecond),
		locker.WithRandomSleep(0, 10*time.Millisecond),
		locker.WithSuccessCallback(func(name string) { count(granted, name) }),
		locker.WithTimeoutCallback(func(name string, _ time.Duration) { count(timedOut, name) }))
	ended := map[string]int{}
	for i := range 30 {
		name := fmt.Sprint(i)
		_, err := a.RunFuncInLock(t.Context(), name, 15, func() { <-time.After(rand.N(5 * time.Millisecond)) })
		if err != nil {
			wantErr(t, err, locker.ErrMaxHeld)
			ended[name]++
		}
	}
	until(t, "all callbacks have run", func() bool {
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
