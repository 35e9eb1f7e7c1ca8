package elock_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/phpgao/elock"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
)

// The only test of what the whole process shares.
func TestTheInstanceIsMadeOnceByTheFirstCallWithGoodArguments(t *testing.T) {
	t.Parallel()
	t.Cleanup(elock.ForgetInstance)
	run := func() error { return locktest.Second(elock.RunFuncInLock(t.Context(), keyName, 15, func() {})) }
	runJob := func() error { return locktest.Second(elock.RunJobInLock(t.Context(), keyName, 15, job(func() {}))) }
	for _, call := range []func() error{run, runJob} {
		err := call()
		locktest.WantErr(t, err, elock.ErrNoInstance)
		if e, ok := errors.AsType[*locker.Error](err); !ok || e.Op != "run" || e.Key != keyName {
			t.Errorf("got %#v, want an Error of run %q", err, keyName)
		}
	}

	locktest.WantErr(t, elock.GetELockerInstance(nil).Lock(t.Context(), keyName, 15), locker.ErrInvalidOption)
	locktest.WantErr(t, run(), elock.ErrNoInstance)

	b, _, client, prefix := newPair(t)
	var all [8]*elock.ELocker
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() { all[i] = elock.GetELockerInstance(client, elock.WithPrefix(prefix)) })
	}
	wg.Wait()
	e := locktest.Closing(t, elock.GetELockerInstance(nil, nil)) // which do not count any more
	for _, other := range all {
		if other != e {
			t.Error("another instance")
		}
	}

	var ran bool
	took, err := elock.RunFuncInLock(t.Context(), keyName, 15, func() {
		ran = true
		locktest.WantErr(t, b.Lock(t.Context(), keyName, 15), locker.ErrLocked)
		locktest.WantErr(t, runJob(), locker.ErrLocked)
		locktest.WantErr(t, e.Lock(t.Context(), keyName, 15), locker.ErrLocked)
	})
	locktest.WantErr(t, err, nil)
	if !ran || took <= 0 {
		t.Errorf("ran %v for %v", ran, took)
	}
	ran = false
	locktest.WantErr(t, locktest.Second(elock.RunJobInLock(t.Context(), keyName, 15, job(func() { ran = true }))), nil)
	if !ran {
		t.Error("the job did not run")
	}
	locktest.WantErr(t, e.Close(), nil)
	for _, call := range []func() error{run, runJob} {
		locktest.WantErr(t, call(), locker.ErrClosed)
	}
}
