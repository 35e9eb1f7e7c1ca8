package lane

import (
	"slices"
	"testing"
)

func TestTheFirstInLineIsHandedTheLane(t *testing.T) {
	run(t, func(q *table) {
		q.alone("a")
		if w := q.Next(key); w != nil {
			t.Errorf("next is %q, though nobody waits", w.Value)
		}
		b, c := q.alone("b"), q.alone("c")
		w := q.Next(key)
		if w.Value != "b" {
			t.Fatalf("next is %q", w.Value)
		}
		if !q.Hand(key, 7, w) {
			t.Fatal("b was not handed the lane")
		}
		b.has(7, 0)
		q.waits(c)
		if q.Hand(key, 8, w) {
			t.Error("b was handed the lane twice")
		}
		q.waits(c)
		if d := q.alone("d"); d.ahead != "c" || d.n != 2 {
			t.Errorf("d was told %q, %d", d.ahead, d.n)
		} else {
			c.withdraw()
			d.withdraw()
		}
		if e := q.alone("e"); e.ahead != "b" {
			t.Errorf("e was told that %q is ahead, want b", e.ahead)
		} else {
			e.withdraw()
		}
		q.Leave(key)
		q.wantVacant()
	})
}

// What was made for one that gave up goes to nobody else.
func TestOneThatGaveUpIsNotHandedTheLane(t *testing.T) {
	run(t, func(q *table) {
		q.alone("a")
		b := q.alone("b")
		w := q.Next(key)
		b.withdraw()
		if q.Hand(key, 7, w) {
			t.Error("nobody was handed the lane")
		}
		c := q.alone("c")
		if q.Hand(key, 7, w) {
			t.Error("one was handed what was for another")
		}
		q.waits(c)
		if !q.Hand(key, 8, q.Next(key)) {
			t.Error("c was not handed the lane")
		}
		c.has(8, 0)
		q.Leave(key)
		q.wantVacant()
	})
}

func TestWhatIsHandedOverAsCtxEndsIsNotLost(t *testing.T) {
	run(t, func(q *table) {
		for range 100 {
			q.alone("a")
			b := q.enter("b", false, func(a *call) { q.Hand(key, 7, q.Next(key)); a.cancel() })
			b.has(7, 0) // whichever came first
			q.Leave(key)
			q.wantVacant()
		}
	})
}

func TestWhatIsHandedToOneThatIsGoneIsAnOrphan(t *testing.T) {
	for name, ends := range harm {
		t.Run(name, func(t *testing.T) {
			run(t, func(q *table) {
				q.alone("a")
				gate := make(chan struct{})
				b := q.enter("b", false, func(a *call) { <-gate; ends(a) })
				c := q.alone("c")
				q.Hand(key, 7, q.Next(key))
				close(gate)
				b.failed()
				if !slices.Equal(q.orphans, []int{7}) {
					t.Errorf("orphans %v, want 7", q.orphans)
				}
				q.waits(c) // the orphan has the lane
				q.Leave(key)
				c.has(0, 0)
				q.Leave(key)
				q.wantVacant()
			})
		})
	}
}

func TestWhatIsParkedComesWithTheLaneOnce(t *testing.T) {
	run(t, func(q *table) {
		q.alone("a")
		if !q.Park(key, 7) {
			t.Fatal("nothing was parked")
		}
		if q.Vacant(key) || q.Seize(key, "s") {
			t.Error("a lane with something in it is vacant")
		}
		b := q.alone("b").has(7, 0)
		if b.times != 0 {
			t.Error("b was blocked")
		}
		c := q.alone("c")
		if c.ahead != "b" {
			t.Errorf("c was told that %q is ahead", c.ahead)
		}
		q.Leave(key)
		c.has(0, 0)
		q.Park(key, 8)
		if c, nth, ok := q.TryEnter(key, "d", true, func(string, int) { t.Error("a try was blocked") }); c != 8 || nth != 0 || !ok {
			t.Errorf("a try got %d, %d, %v", c, nth, ok)
		}
		q.Leave(key)
		q.wantVacant()
	})
}

func TestNothingIsParkedWhileSomebodyWaits(t *testing.T) {
	run(t, func(q *table) {
		q.alone("a")
		b := q.alone("b")
		if q.Park(key, 7) {
			t.Error("something was parked in front of a waiter")
		}
		q.waits(b)
		b.withdraw()
		if !q.Park(key, 7) {
			t.Error("nothing was parked once nobody waited")
		}
		q.alone("c").has(7, 0)
		q.Leave(key)
		q.wantVacant()
	})
}

func TestOnlyWhatIsParkedIsRecalled(t *testing.T) {
	run(t, func(q *table) {
		if q.Recall(key, 7) {
			t.Error("recalled from no lane")
		}
		q.alone("a")
		q.Park(key, 7)
		if q.Recall(key, 8) {
			t.Error("recalled what is not there")
		}
		if !q.Recall(key, 7) {
			t.Error("what is parked was not recalled")
		}
		if q.Recall(key, 7) {
			t.Error("it was recalled twice")
		}
		b := q.alone("b")
		q.waits(b) // it is occupied
		q.Leave(key)
		b.has(0, 0)
		q.Park(key, 9)
		q.alone("c").has(9, 0)
		if q.Recall(key, 9) {
			t.Error("it was recalled from one that has it")
		}
		q.Leave(key)
		q.wantVacant()
	})
}

func TestDrainWaitsUntilNoLaneIsOccupied(t *testing.T) {
	run(t, func(q *table) {
		if !q.Drain(t.Context()) {
			t.Error("with no lane it failed")
		}
		q.Seize(key, "a")
		q.Seize(other, "b")
		calls := []*call{q.drain(), q.drain(), q.drain()}
		c := q.alone("c")
		q.Leave(other)
		q.waits(calls...)
		q.Leave(key) // to c
		q.waits(calls...)
		c.has(0, 0)
		calls[0].cancel()
		calls[0].failed()
		q.Park(key, 7) // that is nobody
		for _, d := range calls[1:] {
			d.has(0, 0)
		}
		if !q.Drain(t.Context()) {
			t.Error("with something parked it failed")
		}
		q.Recall(key, 7)
		d := q.drain()
		q.waits(d)
		q.Leave(key)
		d.has(0, 0)
		q.wantVacant()
	})
}
