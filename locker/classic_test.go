package locker_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

type job func()

func (j job) Run() { j() }

// holding has l hold key while do runs.
var holding = map[string]func(t *testing.T, l *locker.Locker, do func()){
	"Lock": func(t *testing.T, l *locker.Locker, do func()) {
		lock(t, l, keyName)
		do()
		unlock(t, l, keyName)
	},
	"RunFuncInLock": func(t *testing.T, l *locker.Locker, do func()) {
		_, err := l.RunFuncInLock(t.Context(), keyName, 15, do)
		wantErr(t, err, nil)
	},
	"RunJobInLock": func(t *testing.T, l *locker.Locker, do func()) {
		_, err := l.RunJobInLock(t.Context(), keyName, 15, job(do))
		wantErr(t, err, nil)
	},
	"Acquire": func(t *testing.T, l *locker.Locker, do func()) {
		h := acquire(t, l, key)
		do()
		release(t, h)
	},
}

func TestLockFailsAtOnceWhileTheKeyIsHeld(t *testing.T) {
	t.Parallel()
	for name, hold := range holding {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := etcdtest.Start(t)
			var n counter
			prefix := locker.WithPrefix(s.Prefix(t))
			a, b := newLocker(t, faulty(s.Client(t), &faults{after: n.after}), prefix), newLocker(t, s.Client(t), prefix)
			hold(t, a, func() {
				wantErr(t, b.Lock(t.Context(), keyName, 15), locker.ErrLocked)
				sent := n.calls.Load()
				wantErr(t, a.Lock(t.Context(), keyName, 15), locker.ErrLocked)
				if more := n.calls.Load() - sent; more != 0 {
					t.Errorf("Lock of a key that this Locker holds sent %d requests", more)
				}
			})
			lock(t, b, keyName)
		})
	}
}

func TestTheRunFormsDoNotRunWhileTheKeyIsHeld(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	lock(t, b, keyName)
	fn := func() { t.Error("it ran") }
	for range 2 {
		ran, err := a.RunFuncInLock(t.Context(), keyName, 15, fn)
		wantErr(t, err, locker.ErrLocked)
		if ran != 0 {
			t.Errorf("ran %v", ran)
		}
		ran, err = a.RunJobInLock(t.Context(), keyName, 15, job(fn))
		wantErr(t, err, locker.ErrLocked)
		if ran != 0 {
			t.Errorf("ran %v", ran)
		}
	}
}

func TestUnlockOfAKeyThatIsNotLockedIsErrNotHeld(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	wantErr(t, a.Unlock(t.Context(), keyName), locker.ErrNotHeld)
	lock(t, b, keyName)
	wantErr(t, a.Unlock(t.Context(), keyName), locker.ErrNotHeld)
	unlock(t, b, keyName)
	wantErr(t, b.Unlock(t.Context(), keyName), locker.ErrNotHeld)

	h := acquire(t, a, key)
	wantErr(t, a.Unlock(t.Context(), keyName), locker.ErrNotHeld)
	release(t, h)
	_, err := a.RunFuncInLock(t.Context(), keyName, 15, func() {
		wantErr(t, a.Unlock(t.Context(), keyName), locker.ErrNotHeld)
	})
	wantErr(t, err, nil)
}

func TestALockIsKeptBeyondItsTTL(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix := locker.WithPrefix(s.Prefix(t))
	renewals := make(chan struct{}, 100)
	f := &faults{after: func(_ context.Context, c call, err error) error {
		if c.kind == "renew" && err == nil {
			renewals <- struct{}{}
		}
		return err
	}}
	a, b := newLocker(t, faulty(s.Client(t), f), prefix), newLocker(t, s.Client(t), prefix)
	const ttl = 2 * time.Second
	began := time.Now()
	if err := a.Lock(t.Context(), keyName, int(ttl/time.Second)); err != nil {
		t.Fatal(err)
	}
	for time.Since(began) <= ttl {
		receive(t, renewals)
	}
	wantErr(t, b.Lock(t.Context(), keyName, 15), locker.ErrLocked)
	unlock(t, a, keyName)
}

func TestTheContextOfAClassicCallDoesNotBoundTheHold(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	ctx, cancel := context.WithCancel(context.Background())
	if err := a.Lock(ctx, keyName, 15); err != nil {
		t.Fatal(err)
	}
	cancel()
	wantErr(t, b.Lock(t.Context(), keyName, 15), locker.ErrLocked)
	wantErr(t, a.Lock(ctx, "another", 15), context.Canceled)
	if err := a.Unlock(ctx, keyName); err != nil {
		t.Fatalf("Unlock under a context that is done: %v", err)
	}

	ctx, cancel = context.WithCancel(context.Background())
	_, err := a.RunFuncInLock(ctx, keyName, 15, func() {
		cancel()
		wantErr(t, b.Lock(t.Context(), keyName, 15), locker.ErrLocked)
	})
	wantErr(t, err, nil)
	lock(t, b, keyName)
}

func TestTheRunFormsReturnHowLongTheFunctionRan(t *testing.T) {
	t.Parallel()
	const sleep = 20 * time.Millisecond
	a, _, _, _ := newPair(t, locker.WithRandomSleep(sleep, sleep))
	forms := map[string]func(fn func()) (time.Duration, error){
		"RunFuncInLock": func(fn func()) (time.Duration, error) { return a.RunFuncInLock(t.Context(), keyName, 15, fn) },
		"RunJobInLock": func(fn func()) (time.Duration, error) {
			return a.RunJobInLock(t.Context(), keyName, 15, job(fn))
		},
	}
	for name, run := range forms {
		var inside time.Duration
		began := time.Now()
		ran, err := run(func() {
			began := time.Now()
			<-time.After(10 * time.Millisecond)
			inside = time.Since(began)
		})
		all := time.Since(began)
		wantErr(t, err, nil)
		if ran < inside || all-ran < sleep {
			t.Errorf("%s: ran %v; the function took %v, and everything with a sleep of %v took %v", name, ran, inside, sleep, all)
		}
	}
}

func TestTheRunFormsReleaseHoweverTheFunctionEnds(t *testing.T) {
	t.Parallel()
	mine := errors.New("mine")
	ends := map[string]func() error{
		"returns":          func() error { return nil },
		"returns an error": func() error { return mine },
		"panics":           func() error { panic(mine) },
		"exits":            func() error { runtime.Goexit(); return nil },
	}
	forms := map[string]func(l *locker.Locker, f func() error) error{
		"RunFuncInLock": func(l *locker.Locker, f func() error) (err error) {
			_, lerr := l.RunFuncInLock(context.Background(), keyName, 15, func() { err = f() })
			return errors.Join(err, lerr)
		},
		"RunJobInLock": func(l *locker.Locker, f func() error) (err error) {
			_, lerr := l.RunJobInLock(context.Background(), keyName, 15, job(func() { err = f() }))
			return errors.Join(err, lerr)
		},
		"RunInLock": func(l *locker.Locker, f func() error) error {
			return l.RunInLock(context.Background(), key, func(context.Context, *locker.Hold) error { return f() })
		},
	}
	for form, run := range forms {
		for end, f := range ends {
			t.Run(form+" "+end, func(t *testing.T) {
				t.Parallel()
				a, _, client, prefix := newPair(t)
				var got error
				var panicked any
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					panicked = panicOf(func() { got = run(a, f) })
				}()
				receive(t, ended)
				if end == "returns an error" && !errors.Is(got, mine) || end != "returns an error" && got != nil {
					t.Errorf("error %v", got)
				}
				if (panicked != nil) != (end == "panics") || panicked != nil && panicked != any(mine) {
					t.Errorf("panic %v", panicked)
				}
				if left := keys(t, client, prefix); len(left) != 0 {
					t.Errorf("left %q", left)
				}
				lock(t, a, keyName)
			})
		}
	}
}

func TestAStringAndAKeyOfOneNameAreOneLock(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	lock(t, a, "user/42")
	_, err := b.TryAcquire(t.Context(), keyspace.MustNew[int]("user").Key(42))
	wantErr(t, err, locker.ErrLocked)
}

func TestTheClassicCallsExcludeEachOther(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	const each = 10
	var n int // guarded by the lock alone: the race detector watches
	var running atomic.Int32
	work := func() {
		if running.Add(1) != 1 {
			t.Error("two hold the lock")
		}
		n++
		running.Add(-1)
	}
	var wg sync.WaitGroup
	for _, l := range []*locker.Locker{a, b, a, b} {
		wg.Go(func() {
			for i := range each {
				until(t, "the lock is free", func() bool {
					if i%2 == 0 {
						_, err := l.RunFuncInLock(t.Context(), keyName, 15, work)
						return err == nil
					}
					if l.Lock(t.Context(), keyName, 15) != nil {
						return false
					}
					work()
					return l.Unlock(t.Context(), keyName) == nil
				})
			}
		})
	}
	wg.Wait()
	if n != 4*each {
		t.Errorf("%d runs, want %d", n, 4*each)
	}
}
