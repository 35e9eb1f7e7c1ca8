package lockertest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

func TestALostLockIsLostAloneAndGoesToTheNext(t *testing.T) {
	for name, age := range map[string]time.Duration{"young": 0, "old": time.Minute} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				a, b := lockertest.NewPair(t)
				kept, h := acquire(t, a, other), acquire(t, a, key)
				time.Sleep(age)
				start := time.Now()
				lockertest.Lose(a, key)
				acquire(t, b, key)
				if took := time.Since(start); took != 0 {
					t.Errorf("the next got it after %v", took)
				}
				wantLost(t, h, locker.ReasonKeyDeleted)
				if took := time.Since(start); took > 2500*time.Millisecond {
					t.Errorf("the holder learned of it after %v", took)
				}
				if err := kept.Err(); err != nil {
					t.Errorf("%v ended too: %v", kept, err)
				}
			})
		})
	}
}

func TestALockIsLostInRealTime(t *testing.T) {
	t.Parallel()
	l := lockertest.New(t)
	h := acquire(t, l, key)
	lockertest.Lose(l, key)
	wantLost(t, h, locker.ReasonKeyDeleted)
	acquire(t, l, key)
}

func TestOnlyWhatIsHeldCanBeLost(t *testing.T) {
	virtual(t, func(t *testing.T) {
		f := &failing{T: t}
		a, b := lockertest.NewPair(f)
		acquire(t, a, key)
		lockertest.Lose(a, other)
		f.wantSaid("not held")
		f.said = nil
		lockertest.Lose(b, key)
		f.wantSaid("not held")
		if _, err := b.TryAcquire(t.Context(), key); !errors.Is(err, locker.ErrLocked) {
			t.Errorf("the lock of the other was lost: %v", err)
		}
	})
}

func TestExpireEndsAllHoldsOfOneLocker(t *testing.T) {
	virtual(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		one := acquire(t, a, key)
		two := acquire(t, a, other, locker.TTL(time.Hour))
		kept := acquire(t, b, index.Key("products"))
		lockertest.Expire(a)
		wantLost(t, one, locker.ReasonLeaseExpired)
		wantLost(t, two, locker.ReasonLeaseExpired)
		acquire(t, a, key)
		acquire(t, b, other)
		if err := kept.Err(); err != nil {
			t.Errorf("%v of the other ended too: %v", kept, err)
		}
	})
}

func TestAnEvictionWorks(t *testing.T) {
	virtual(t, func(t *testing.T) {
		l := lockertest.New(t)
		h := acquire(t, l, key)
		if _, err := l.Evict(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		wantLost(t, h, locker.ReasonEvicted)
	})
}

func TestADisconnectedHolderLosesTheLockBeforeTheNextGetsIt(t *testing.T) {
	virtual(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		h := acquire(t, a, key)
		lockertest.Disconnect(a)
		start := time.Now()
		acquire(t, b, key)
		if h.Err() == nil {
			t.Error("two holders")
		}
		wantLost(t, h, locker.ReasonDeadline)
		if took := time.Since(start); took.Round(time.Millisecond) != locker.DefaultTTL {
			t.Errorf("the next got it after %v", took)
		}
	})
}

func TestADisconnectedLockerFailsInTimeAndWorksAgainWhenReconnected(t *testing.T) {
	virtual(t, func(t *testing.T) {
		l := lockertest.New(t)
		lockertest.Disconnect(l)
		start := time.Now()
		if _, err := l.Acquire(t.Context(), key); !errors.Is(err, locker.ErrUnavailable) {
			t.Errorf("got error %v, want %v", err, locker.ErrUnavailable)
		}
		if took := time.Since(start); took > 6*time.Second {
			t.Errorf("it took %v", took)
		}
		lockertest.Reconnect(l)
		acquire(t, l, key)
	})
}

func TestAShortDisconnectCostsNoLock(t *testing.T) {
	virtual(t, func(t *testing.T) {
		l := lockertest.New(t)
		h := acquire(t, l, key)
		lockertest.Disconnect(l)
		time.Sleep(8 * time.Second)
		lockertest.Reconnect(l)
		time.Sleep(time.Minute)
		if err := h.Err(); err != nil {
			t.Error(err)
		}
	})
}

func TestALockOfADisconnectedLockerCanBeLost(t *testing.T) {
	virtual(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		h := acquire(t, a, key)
		lockertest.Disconnect(a)
		lockertest.Lose(a, key)
		acquire(t, b, key)
		if err := h.Err(); err != nil {
			t.Errorf("it knows already: %v", err)
		}
		lockertest.Reconnect(a)
		wantLost(t, h, locker.ReasonKeyDeleted)
	})
}

func TestAnswersTakeTheDelay(t *testing.T) {
	virtual(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		const delay = 800 * time.Millisecond
		lockertest.SetDelay(a, delay)
		start := time.Now()
		if _, err := a.Inspect(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != delay {
			t.Errorf("an answer took %v, want %v", took, delay)
		}
		ctx, cancel := context.WithTimeout(t.Context(), delay/2)
		defer cancel()
		if _, err := a.Acquire(ctx, key); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got error %v, want %v", err, context.DeadlineExceeded)
		}
		start = time.Now()
		acquire(t, b, other)
		if took := time.Since(start); took != 0 {
			t.Errorf("the other process waited for %v", took)
		}
		h := acquire(t, a, key)
		time.Sleep(10 * time.Minute)
		if err := h.Err(); err != nil {
			t.Errorf("it lost the lock: %v", err)
		}
		lockertest.SetDelay(a, 0)
		start = time.Now()
		if err := h.Release(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("a release took %v", took)
		}
	})
}
