package lockertest_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

func TestALockIsHeldAndReleasedInVirtualAndInRealTime(t *testing.T) {
	try := func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		h := acquire(t, a, key)
		if _, err := b.TryAcquire(t.Context(), key); !errors.Is(err, locker.ErrLocked) {
			t.Errorf("got error %v, want %v", err, locker.ErrLocked)
		}
		if err := h.Release(t.Context()); err != nil {
			t.Error(err)
		}
		if next := acquire(t, b, key); next.Token() <= h.Token() {
			t.Errorf("token %d after %d", next.Token(), h.Token())
		}
	}
	t.Run("virtual", func(t *testing.T) { virtual(t, try) })
	t.Run("real", try)
}

func TestEveryNewHasAStoreOfItsOwn(t *testing.T) {
	t.Parallel()
	acquire(t, lockertest.New(t), key)
	acquire(t, lockertest.New(t), key)
}

func TestADayPassesUnderALock(t *testing.T) {
	virtual(t, func(t *testing.T) {
		l := lockertest.New(t)
		h := acquire(t, l, key)
		time.Sleep(24 * time.Hour)
		if err := h.Err(); err != nil {
			t.Error(err)
		}
	})
}

func TestTheMonitorKeepsVirtualTime(t *testing.T) {
	virtual(t, func(t *testing.T) {
		const limit = time.Hour
		l := lockertest.New(t, locker.WithMaxHeldTime(limit))
		h := acquire(t, l, key)
		start := time.Now()
		<-h.Context().Done()
		if !errors.Is(h.Err(), locker.ErrMaxHeld) {
			t.Errorf("got %v, want %v", h.Err(), locker.ErrMaxHeld)
		}
		if held := time.Since(start); held < limit || held > limit+locker.DefaultMonitorTicks {
			t.Errorf("held for %v", held)
		}
	})
}

func TestAWaiterCanBeWaitedFor(t *testing.T) {
	virtual(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		h := acquire(t, a, key)
		granted := false
		go func() {
			_, err := b.Acquire(t.Context(), key)
			granted = err == nil
		}()
		synctest.Wait()
		q, err := a.Inspect(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if len(q.Holders) != 1 || q.Holders[0].Name != "a" || len(q.Waiters) != 1 || q.Waiters[0].Name != "b" {
			t.Errorf("got queue %+v, want a before b", q)
		}
		if err := h.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !granted {
			t.Error("the lock was not handed on")
		}
	})
}

func TestTheLockerIsClosedWhenTheTestEnds(t *testing.T) {
	t.Parallel()
	var h *locker.Hold
	var l *locker.Locker
	t.Run("inner", func(t *testing.T) {
		l = lockertest.New(t)
		h = acquire(t, l, key)
		lockertest.SetDelay(l, time.Hour) // must not hinder it
		lockertest.Disconnect(l)
	})
	if !errors.Is(h.Err(), locker.ErrClosed) {
		t.Errorf("the hold ended with %v, want %v", h.Err(), locker.ErrClosed)
	}
	// Late timers of the test do no harm.
	lockertest.Lose(l, key)
	lockertest.Expire(l)
	lockertest.Reconnect(l)
}

func TestALockIsLostAtTheEndOfATest(t *testing.T) {
	for range 100 {
		virtual(t, func(t *testing.T) {
			l := lockertest.New(t)
			h := acquire(t, l, key)
			time.AfterFunc(time.Minute, func() { lockertest.Lose(l, key) })
			<-h.Context().Done()
		})
	}
}

func TestALockerFromElsewherePanics(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("it did not panic")
		}
	}()
	lockertest.SetDelay(new(locker.Locker), 0)
}

func TestALockerMayBeClosedEarlier(t *testing.T) {
	t.Parallel()
	l := lockertest.New(t)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestABadOptionFailsTheTest(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(testing.TB){
		"New":     func(tb testing.TB) { lockertest.New(tb, locker.WithTTL(-1)) },
		"NewPair": func(tb testing.TB) { lockertest.NewPair(tb, locker.WithTTL(-1)) },
	} {
		t.Run(name, func(t *testing.T) {
			f := &failing{T: t}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				start(f)
				t.Error("it went on")
			}()
			<-ended
			f.wantSaid("invalid TTL")
		})
	}
}

func TestOptionsAreThoseOfTheCaller(t *testing.T) {
	virtual(t, func(t *testing.T) {
		var log bytes.Buffer
		l := lockertest.New(t, locker.WithOwner("me"), locker.WithPrefix("place"), locker.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		h := acquire(t, l, key)
		q, err := l.Inspect(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if q.Holders[0].Name != "me" {
			t.Errorf("got owner %q", q.Holders[0].Name)
		}
		resp, err := lockertest.Client(l).Get(t.Context(), "/place/", clientv3.WithPrefix())
		if err != nil {
			t.Fatal(err)
		}
		if resp.Count != 1 {
			t.Errorf("%d keys under the prefix, want 1", resp.Count)
		}
		lockertest.Lose(l, key)
		<-h.Context().Done()
		synctest.Wait()
		if !strings.Contains(log.String(), "lock lost") {
			t.Errorf("logged %q", &log)
		}
	})
}

func TestTheClientSeesWhatTheLockerDoes(t *testing.T) {
	virtual(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		h := acquire(t, a, key)
		write := func() bool {
			resp, err := lockertest.Client(a).Txn(t.Context()).If(h.Fence()).Then(clientv3.OpPut("balance", "8")).Commit()
			if err != nil {
				t.Fatal(err)
			}
			return resp.Succeeded
		}
		if !write() {
			t.Error("the holder may not write")
		}
		lockertest.Lose(a, key)
		acquire(t, b, key)
		if h.Err() != nil {
			t.Error("the holder knows already; this test needs one that does not")
		}
		if write() {
			t.Error("the holder wrote after its lock was lost")
		}
	})
}

func TestTheClientMakesMoreProcesses(t *testing.T) {
	virtual(t, func(t *testing.T) {
		a := lockertest.New(t)
		c, err := locker.New(lockertest.Client(a))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		acquire(t, a, key)
		if _, err := c.TryAcquire(t.Context(), key); !errors.Is(err, locker.ErrLocked) {
			t.Errorf("got error %v, want %v", err, locker.ErrLocked)
		}
	})
}
