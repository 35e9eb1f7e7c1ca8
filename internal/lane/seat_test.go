package lane

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestSeatsAreTakenWhileThereAreSlots(t *testing.T) {
	run(t, func(q *table) {
		q.sit("a", 3, 1).sits(0, 1)
		q.sit("b", 3, 2).sits(0, 2)
		c, d := q.sit("c", 3, 1), q.sit("d", 3, 1)
		if c.n != 2 || d.ahead != "c" || d.n != 3 {
			t.Errorf("c was told %q, %d, and d %q, %d", c.ahead, c.n, d.ahead, d.n)
		}
		if _, _, ok := q.TryEnterSeat(key, "try", 3, 1, func(_ string, n int) {
			if n != 4 {
				t.Errorf("%d are there", n)
			}
		}); ok {
			t.Error("a try overtakes")
		}
		q.waits(c, d)
		q.LeaveSeat(key, 2) // two slots
		c.sits(0, 2)
		d.sits(0, 3)
		q.LeaveSeat(key, 1)
		q.sit("e", 3, 1).sits(0, 1) // the lowest that is vacant
		for seat := range 3 {
			q.LeaveSeat(key, 1+seat)
		}
		q.wantVacant()
	})
}

func TestNobodyOvertakesOneThatWaitsForManySlots(t *testing.T) {
	run(t, func(q *table) {
		q.sit("a", 3, 1).sits(0, 1)
		large, small := q.sit("large", 3, 3), q.sit("small", 3, 1)
		q.waits(large, small)
		q.LeaveSeat(key, 1)
		large.sits(0, 1)
		q.waits(small)
		q.LeaveSeat(key, 1)
		small.sits(0, 1)
		next := q.sit("next", 3, 3)
		last := q.sit("last", 3, 2)
		q.waits(next, last)
		next.withdraw() // and last may come
		last.sits(0, 2)
		q.LeaveSeat(key, 1)
		q.LeaveSeat(key, 2)
		q.wantVacant()
	})
}

func TestThoseWhoDivideALaneInAnotherWayWaitInOneLine(t *testing.T) {
	run(t, func(q *table) {
		q.sit("a", 2, 1).sits(0, 1)
		other, whole, share, again := q.sit("other", 3, 1), q.alone("whole"), q.sharing("share"), q.sit("again", 2, 1)
		also := q.sit("also", 2, 1)
		q.waits(other, whole, share, again, also)
		q.LeaveSeat(key, 1)
		other.sits(0, 1)
		q.waits(whole, share, again, also)
		q.LeaveSeat(key, 1)
		whole.has(0, 0)
		q.waits(share, again, also)
		if q.Next(key) == nil {
			t.Error("the lane cannot be handed to one who wants all of it")
		}
		q.Leave(key)
		share.has(0, 0)
		if q.Next(key) != nil {
			t.Error("the whole lane can be handed to one who wants a seat")
		}
		q.Leave(key)
		again.sits(0, 1)
		also.sits(0, 2)
		q.LeaveSeat(key, 2)
		q.LeaveSeat(key, 1)
		q.wantVacant()
	})
}

func TestASeatIsHandedToTheFirstInLineWhoFindsRoomInIt(t *testing.T) {
	run(t, func(q *table) {
		q.sit("a", 3, 1).sits(0, 1)
		q.sit("b", 3, 2).sits(0, 2)
		two := q.sit("two", 3, 2)
		one := q.sit("one", 3, 1)
		if q.NextAt(key, 1) != nil {
			t.Error("two slots fit into one")
		}
		w := q.NextAt(key, 2)
		if w == nil || !q.HandAt(key, 2, 7, w) {
			t.Fatal("the seat is not handed on")
		}
		two.sits(7, 2)
		if q.HandAt(key, 2, 8, w) {
			t.Error("handed on twice")
		}
		if !q.HandAt(key, 1, 9, q.NextAt(key, 1)) {
			t.Fatal("the seat is not handed on")
		}
		one.sits(9, 1)
		small, smaller := q.sit("small", 3, 1), q.sit("smaller", 3, 1)
		if !q.HandAt(key, 2, 5, q.NextAt(key, 2)) { // and a slot is left
			t.Fatal("the seat is not handed on")
		}
		small.sits(5, 2)
		smaller.sits(0, 3)
		for seat := range 3 {
			q.LeaveSeat(key, 1+seat)
		}
		q.wantVacant()
	})
}

func TestASeatThatComesAsItsCallerGivesUpGoesOn(t *testing.T) {
	run(t, func(q *table) {
		q.sit("a", 1, 1).sits(0, 1)
		b := q.sit("b", 1, 1, func(a *call) { q.LeaveSeat(key, 1); a.cancel() })
		c := q.sit("c", 1, 1)
		if q.returned(b); b.ok { // it was faster
			q.LeaveSeat(key, 1)
		}
		c.sits(0, 1)
		d := q.sit("d", 1, 1, func(a *call) { q.HandAt(key, 1, 7, q.NextAt(key, 1)); a.cancel() })
		d.sits(7, 1) // what comes with it is never dropped
		for how, harm := range harm {
			e := q.sit(how, 1, 1, func(a *call) { q.HandAt(key, 1, 8, q.NextAt(key, 1)); harm(a) })
			q.returned(e)
			q.LeaveSeat(key, 1) // for the orphan
			q.sit("next", 1, 1).sits(0, 1)
		}
		if len(q.orphans) != len(harm) || q.orphans[0] != 8 {
			t.Errorf("orphans %v", q.orphans)
		}
		q.LeaveSeat(key, 1)
		q.wantVacant()
	})
}

// returned wants a call that has ended, whatever became of it.
func (q *table) returned(a *call) {
	q.t.Helper()
	synctest.Wait()
	select {
	case <-a.done:
	default:
		q.t.Fatalf("%s still waits", a.name)
	}
}

func TestWhatIsParkedComesWithTheFirstSeat(t *testing.T) {
	run(t, func(q *table) {
		q.alone("a").has(0, 0)
		if !q.Park(key, 7) {
			t.Fatal("not parked")
		}
		q.sit("b", 2, 1).sits(7, 1)
		q.sit("c", 2, 1).sits(0, 2)
		q.LeaveSeat(key, 1)
		drained := q.drain()
		q.waits(drained)
		q.LeaveSeat(key, 2)
		drained.has(0, 0)
		q.wantVacant()
	})
}

// Callers at random, of two numbers of slots and of the whole lane, never occupy more than there is, and all get their turn.
func TestRandomCallersTakeNoMoreThanThereIs(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			table := New[int](Config[int64]{Stop: t.Context(), Term: term, Orphan: func(int64) { t.Error("an orphan") }})
			var taken [5]atomic.Int64 // by the number of slots
			var handed sync.Map       // values on their way
			var users sync.WaitGroup
			for i := range 16 {
				r := rand.New(rand.NewPCG(seed, uint64(i)))
				users.Go(func() {
					for range 40 {
						slots := []int{1, 3, 3, 3, 4}[r.IntN(5)]
						weight := 1 + r.IntN(slots)
						if slots == 1 {
							weight = 0 // the whole lane
						}
						ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+r.IntN(60))*time.Millisecond)
						var c int64
						var seat int
						var ok bool
						if weight == 0 {
							c, _, ok = table.Enter(ctx, key, i, false, func(int, int) {})
						} else {
							c, seat, ok = table.EnterSeat(ctx, key, i, slots, weight, func(int, int) {})
						}
						cancel()
						if !ok {
							continue
						}
						if _, there := handed.LoadAndDelete(c); c != 0 && !there {
							t.Errorf("got %d", c)
						}
						now := taken[slots].Add(int64(max(weight, 1)))
						for n := range taken {
							if others := taken[n].Load(); n != slots && others != 0 || now > int64(slots) {
								t.Errorf("%d of %d are taken, and %d of %d", now, slots, others, n)
							}
						}
						time.Sleep(time.Duration(r.IntN(5)) * time.Millisecond)
						taken[slots].Add(-int64(max(weight, 1)))
						c = r.Int64N(1e15) + 1
						handed.Store(c, true)
						if w := table.NextAt(key, seat); w == nil || r.IntN(3) == 0 || !table.HandAt(key, seat, c, w) {
							handed.Delete(c)
							table.LeaveSeat(key, seat)
						}
					}
				})
			}
			users.Wait()
			if !table.Drain(t.Context()) || table.busy.Load() != 0 || !table.Vacant(key) {
				t.Errorf("seed %d: %d are occupied, vacant: %v", seed, table.busy.Load(), table.Vacant(key))
			}
		})
	}
}
