package elock_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

func TestALockHeldTooLongIsFreedAndItsUnlockSaysSo(t *testing.T) {
	t.Parallel()
	b, _, _, prefix := newPair(t)
	a := beside(t, prefix, impatient()...) // without a callback
	lock(t, a, keyName)
	untilLocked(t, b, keyName)
	locktest.WantErr(t, a.Unlock(t.Context(), keyName), locker.ErrMaxHeld)
}

func TestALateUnlockSparesTheYoungerLock(t *testing.T) {
	t.Parallel()
	t.Run("of the same ELocker", func(t *testing.T) {
		t.Parallel()
		// The monitor looks so seldom that the second lock is safe from it.
		a, b, _, _ := newPair(t, elock.WithMaxHeldTime(time.Millisecond), elock.WithMonitorTicks(2*time.Second))
		lock(t, a, keyName)
		untilLocked(t, a, keyName)
		locktest.WantErr(t, a.Unlock(t.Context(), keyName), locker.ErrMaxHeld)
		locktest.WantErr(t, b.Lock(t.Context(), keyName, 15), locker.ErrLocked)
		unlock(t, a, keyName)
		locktest.WantErr(t, a.Unlock(t.Context(), keyName), locker.ErrNotHeld)
	})
	t.Run("of the same ELocker, after two losses", func(t *testing.T) {
		t.Parallel()
		a, b, _, _ := newPair(t)
		lock(t, a, keyName)
		for range 2 {
			evict(t, b)
			untilLocked(t, a, keyName)
		}
		for range 2 {
			locktest.WantLost(t, a.Unlock(t.Context(), keyName), locker.ReasonEvicted)
			locktest.WantErr(t, b.Lock(t.Context(), keyName, 15), locker.ErrLocked)
		}
		unlock(t, a, keyName)
	})
	t.Run("of another process", func(t *testing.T) {
		t.Parallel()
		b, c, _, prefix := newPair(t)
		a := beside(t, prefix, impatient()...)
		lock(t, a, keyName)
		untilLocked(t, b, keyName)
		locktest.WantErr(t, a.Unlock(t.Context(), keyName), locker.ErrMaxHeld)
		locktest.WantErr(t, c.Lock(t.Context(), keyName, 15), locker.ErrLocked)
		unlock(t, b, keyName)
	})
}

func TestALockWhoseLeaseIsGoneCanBeLockedAgainAndItsUnlockSaysSo(t *testing.T) {
	t.Parallel()
	rows := map[string]func(t *testing.T, a, b *elock.ELocker){
		"unlocked before this process can know": func(*testing.T, *elock.ELocker, *elock.ELocker) {},
		"locked again by this process":          func(t *testing.T, a, _ *elock.ELocker) { untilLocked(t, a, keyName) },
		"locked by another":                     func(t *testing.T, _, b *elock.ELocker) { lock(t, b, keyName) },
	}
	for name, then := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b, client, prefix := newPair(t)
			lock(t, a, keyName)
			revokeLeases(t, client, prefix)
			then(t, a, b)
			locktest.WantLost(t, a.Unlock(t.Context(), keyName), locker.ReasonLeaseExpired)
		})
	}
}

func TestRunFuncInLockTellsThatAnotherHeldTheLockMeanwhile(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	ran, err := a.RunFuncInLock(t.Context(), keyName, 15, func() {
		revokeLeases(t, client, prefix)
		lock(t, b, keyName)
	})
	locktest.WantLost(t, err, locker.ReasonLeaseExpired)
	if ran <= 0 {
		t.Errorf("ran %v, want how long the function ran", ran)
	}
	unlock(t, b, keyName)
}

func TestAnUnlockThatIsNotConfirmedMayBeRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := lockertest.New(t)
		a := newELocker(t, lockertest.Client(l))
		lock(t, a, keyName)
		lockertest.Disconnect(l)
		for range 2 {
			locktest.WantErr(t, a.Unlock(t.Context(), keyName), locker.ErrUnavailable)
		}
		lockertest.Reconnect(l)
		unlock(t, a, keyName)
		locktest.WantErr(t, a.Unlock(t.Context(), keyName), locker.ErrNotHeld)
		locktest.WantErr(t, locktest.Second(l.TryAcquire(t.Context(), key)), nil)
	})
}

func TestACallThatEtcdDoesNotAnswerHoldsUpNoOtherKey(t *testing.T) {
	t.Parallel()
	const hang = 3 // so many calls are not answered
	var armed atomic.Bool
	var stuck, over atomic.Int64
	w := wire{before: func(ctx context.Context, req any) error {
		if !armed.Load() || !writes(req) || stuck.Add(1) > hang {
			return nil
		}
		<-ctx.Done()
		over.Add(1)
		return ctx.Err()
	}}
	_, _, _, prefix := newPair(t)
	l := newELocker(t, w.client(t), elock.WithPrefix(prefix), elock.WithLockerOptions(locker.WithoutBatching()))
	lock(t, l, "held")

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	armed.Store(true)
	ends := []func() error{
		locktest.Async(t, func() error { return l.Lock(ctx, "lock", 15) }),
		locktest.Async(t, func() error { return locktest.Second(l.RunFuncInLock(ctx, "run", 15, func() {})) }),
		locktest.Async(t, func() error { return l.Unlock(ctx, "held") }),
	}
	locktest.Until(t, "the calls are stuck", func() bool { return stuck.Load() >= hang })
	for range 3 {
		lock(t, l, keyName)
		unlock(t, l, keyName)
		locktest.WantErr(t, locktest.Second(l.RunFuncInLock(t.Context(), keyName, 15, func() {})), nil)
	}
	for _, name := range []string{"lock", "run", "held"} {
		locktest.WantErr(t, l.Lock(t.Context(), name, 15), locker.ErrLocked)
	}
	if n := over.Load(); n > 0 {
		t.Fatalf("%d calls gave up too early to show anything", n)
	}
	cancel()
	for i, end := range ends {
		if err := end(); err == nil {
			t.Errorf("call %d: no error", i)
		}
	}
}

func TestTheDeletionOfTheKeyIsToldByItsUnlock(t *testing.T) {
	t.Parallel()
	a, _, client, prefix := newPair(t)
	lock(t, a, keyName)
	if _, err := client.Delete(t.Context(), "/"+prefix, clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	locktest.WantLost(t, a.Unlock(t.Context(), keyName), locker.ReasonKeyDeleted)
}
