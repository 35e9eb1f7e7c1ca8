package elock

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

func TestHoldsThatNobodyUnlocksAreForgottenInADay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, names := lockertest.New(t), keyspace.MustNew[int]("n")
		var c classicHolds
		add := func(i int) *locker.Hold {
			h, err := l.TryAcquire(t.Context(), names.Key(i))
			if err != nil {
				t.Fatal(err)
			}
			c.add(h)
			return h
		}
		lose := func(h *locker.Hold) {
			lockertest.Lose(l, h.Key())
			<-h.Context().Done()
		}
		held := add(0)
		for i := range 10 {
			lose(add(1 + i))
		}
		lose(add(1)) // the second one of that key
		time.Sleep(forgetAfter - 2*sweepEvery)
		add(100)
		if n := len(c.m); n != 12 {
			t.Errorf("%d keys are known, want 12", n)
		}
		time.Sleep(4 * sweepEvery)
		add(101)
		if n := len(c.m); n != 3 {
			t.Errorf("%d keys are known, want 3", n)
		}
		if c.take(held.Key()) != held {
			t.Error("a lock that is held was forgotten")
		}
		if h := c.take(names.Key(1)); h != nil {
			t.Errorf("%v is still known", h)
		}
	})
}
