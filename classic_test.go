package elock_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phpgao/elock"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

type job func()

func (j job) Run() { j() }

// holding has l hold key while do runs.
var holding = map[string]func(t *testing.T, l *elock.ELocker, do func()){
	"Lock": func(t *testing.T, l *elock.ELocker, do func()) {
		lock(t, l, keyName)
		do()
		unlock(t, l, keyName)
	},
	"RunFuncInLock": func(t *testing.T, l *elock.ELocker, do func()) {
		_, err := l.RunFuncInLock(t.Context(), keyName, 15, do)
		locktest.WantErr(t, err, nil)
	},
	"RunJobInLock": func(t *testing.T, l *elock.ELocker, do func()) {
		_, err := l.RunJobInLock(t.Context(), keyName, 15, job(do))
		locktest.WantErr(t, err, nil)
	},
	"Acquire": func(t *testing.T, l *elock.ELocker, do func()) {
		h, err := l.Locker().Acquire(t.Context(), key)
		locktest.WantErr(t, err, nil)
		do()
		locktest.WantErr(t, h.Release(t.Context()), nil)
	},
}

func TestLockFailsAtOnceWhileTheKeyIsHeld(t *testing.T) {
	t.Parallel()
	for name, hold := range holding {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, _, _, prefix := newPair(t)
			var w wire
			a := newELocker(t, w.client(t), elock.WithPrefix(prefix))
			hold(t, a, func() {
				locktest.WantErr(t, b.Lock(t.Context(), keyName, 15), locker.ErrLocked)
				w.sent.Store(0)
				locktest.WantErr(t, a.Lock(t.Context(), keyName, 15), locker.ErrLocked)
				w.wantNothingSent(t)
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
		locktest.WantErr(t, err, locker.ErrLocked)
		if ran != 0 {
			t.Errorf("ran %v", ran)
		}
		ran, err = a.RunJobInLock(t.Context(), keyName, 15, job(fn))
		locktest.WantErr(t, err, locker.ErrLocked)
		if ran != 0 {
			t.Errorf("ran %v", ran)
		}
	}
}

func TestUnlockOfAKeyThatIsNotLockedIsErrNotHeld(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	locktest.WantErr(t, a.Unlock(t.Context(), keyName), locker.ErrNotHeld)
	lock(t, b, keyName)
	locktest.WantErr(t, a.Unlock(t.Context(), keyName), locker.ErrNotHeld)
	unlock(t, b, keyName)
	locktest.WantErr(t, b.Unlock(t.Context(), keyName), locker.ErrNotHeld)

	h, err := a.Locker().Acquire(t.Context(), key)
	locktest.WantErr(t, err, nil)
	locktest.WantErr(t, a.Unlock(t.Context(), keyName), locker.ErrNotHeld)
	locktest.WantErr(t, h.Release(t.Context()), nil)
	_, err = a.RunFuncInLock(t.Context(), keyName, 15, func() {
		locktest.WantErr(t, a.Unlock(t.Context(), keyName), locker.ErrNotHeld)
	})
	locktest.WantErr(t, err, nil)
}

func TestALockIsKeptBeyondItsTTL(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := lockertest.New(t)
		a, b := newELocker(t, lockertest.Client(l)), newELocker(t, lockertest.Client(l))
		locktest.WantErr(t, a.Lock(t.Context(), keyName, 2), nil)
		time.Sleep(time.Minute)
		locktest.WantErr(t, b.Lock(t.Context(), keyName, 15), locker.ErrLocked)
		unlock(t, a, keyName)
		lock(t, b, keyName)
	})
}

func TestTheContextOfAClassicCallDoesNotBoundTheHold(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	ctx, cancel := context.WithCancel(context.Background())
	if err := a.Lock(ctx, keyName, 15); err != nil {
		t.Fatal(err)
	}
	cancel()
	locktest.WantErr(t, b.Lock(t.Context(), keyName, 15), locker.ErrLocked)
	locktest.WantErr(t, a.Lock(ctx, "another", 15), context.Canceled)
	if err := a.Unlock(ctx, keyName); err != nil {
		t.Fatalf("Unlock under a context that is done: %v", err)
	}

	ctx, cancel = context.WithCancel(context.Background())
	_, err := a.RunFuncInLock(ctx, keyName, 15, func() {
		cancel()
		locktest.WantErr(t, b.Lock(t.Context(), keyName, 15), locker.ErrLocked)
	})
	locktest.WantErr(t, err, nil)
	lock(t, b, keyName)
}

func TestTheRunFormsReturnHowLongTheFunctionRan(t *testing.T) {
	t.Parallel()
	const sleep = 20 * time.Millisecond
	a, _, _, _ := newPair(t, elock.WithRandomSleep(sleep, sleep))
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
		locktest.WantErr(t, err, nil)
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
	forms := map[string]func(l *elock.ELocker, f func() error) error{
		"RunFuncInLock": func(l *elock.ELocker, f func() error) (err error) {
			_, lerr := l.RunFuncInLock(context.Background(), keyName, 15, func() { err = f() })
			return errors.Join(err, lerr)
		},
		"RunJobInLock": func(l *elock.ELocker, f func() error) (err error) {
			_, lerr := l.RunJobInLock(context.Background(), keyName, 15, job(func() { err = f() }))
			return errors.Join(err, lerr)
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
					panicked = locktest.PanicOf(func() { got = run(a, f) })
				}()
				locktest.Receive(t, ended)
				if end == "returns an error" && !errors.Is(got, mine) || end != "returns an error" && got != nil {
					t.Errorf("error %v", got)
				}
				if (panicked != nil) != (end == "panics") || panicked != nil && panicked != any(mine) {
					t.Errorf("panic %v", panicked)
				}
				wantFree(t, client, prefix)
				lock(t, a, keyName)
			})
		}
	}
}

func TestAStringAndAKeyOfOneNameAreOneLock(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	lock(t, a, "user/42")
	_, err := b.Locker().TryAcquire(t.Context(), keyspace.MustNew[int]("user").Key(42))
	locktest.WantErr(t, err, locker.ErrLocked)
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
	for _, l := range []*elock.ELocker{a, b, a, b} {
		wg.Go(func() {
			for i := range each {
				locktest.Until(t, "the lock is free", func() bool {
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
