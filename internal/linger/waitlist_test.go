package linger

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestAWaitlistIsAwaitedUntilItIsEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Waitlist[int]
		if left := w.Await(t.Context()); left != nil {
			t.Errorf("%v is left of nothing", left)
		}
		began := time.Now()
		for i := range 3 {
			w.Add(i)
			time.AfterFunc(time.Duration(1+i)*time.Second, func() { w.Remove(i); w.Remove(7) })
		}
		if left := w.Await(t.Context()); len(left) > 0 || time.Since(began) != 3*time.Second {
			t.Errorf("%v is left after %v", left, time.Since(began))
		}
	})
}

func TestWhatIsLeftOfAWaitlistIsTakenOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Waitlist[int]
		for i := range 3 {
			w.Add(i)
		}
		w.Remove(1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		left := w.Await(ctx)
		slices.Sort(left)
		if !slices.Equal(left, []int{0, 2}) || ctx.Err() == nil {
			t.Errorf("%v is left", left)
		}
		if left := w.Await(t.Context()); len(left) > 0 {
			t.Errorf("%v is left again", left)
		}
	})
}
