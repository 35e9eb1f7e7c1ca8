package lane

import "testing"

func TestCallersGetTheLaneInTheirOrder(t *testing.T) {
	run(t, func(q *table) {
		a := q.alone("a").has(0, 0)
		if a.times != 0 {
			t.Error("the first was blocked")
		}
		b, c, d := q.alone("b"), q.alone("c"), q.alone("d")
		for i, w := range []*call{b, c, d} {
			if want := []string{"a", "b", "c"}[i]; w.ahead != want || w.n != i+1 || w.times != 1 {
				t.Errorf("%s was told %q, %d, %d times; want %q, %d, once", w.name, w.ahead, w.n, w.times, want, i+1)
			}
		}
		if n := q.Waiting(key); n != 3 {
			t.Errorf("%d wait, want 3", n)
		}
		q.waits(b, c, d)
		q.Leave(key)
		b.has(0, 0)
		q.waits(c, d)
		if late := q.alone("e"); late.ahead != "d" || late.n != 3 {
			t.Errorf("e was told %q, %d", late.ahead, late.n)
		} else {
			q.Leave(key)
			c.has(0, 0)
			q.Leave(key)
			d.has(0, 0)
			q.waits(late)
			q.Leave(key)
			late.has(0, 0)
		}
		q.Leave(key)
		q.wantVacant()
	})
}

func TestLanesOfDifferentKeysHaveNothingToDoWithEachOther(t *testing.T) {
	run(t, func(q *table) {
		q.alone("a").has(0, 0)
		if !q.Seize(other, "b") {
			t.Error("the other lane is not free")
		}
		q.Leave(key)
		if !q.Vacant(key) || q.Vacant(other) {
			t.Error("the wrong lane was left")
		}
		q.Leave(other)
		q.wantVacant()
	})
}

func TestATryGetsAFreeLaneOnly(t *testing.T) {
	run(t, func(q *table) {
		type told struct {
			by string
			n  int
		}
		try := func(share bool) (got *told, ok bool) {
			_, _, ok = q.TryEnter(key, "try", share, func(by string, n int) { got = &told{by, n} })
			return got, ok
		}
		if got, ok := try(false); !ok || got != nil {
			t.Fatalf("of a free lane: %v, %v", got, ok)
		}
		q.Leave(key)
		q.alone("a").has(0, 0)
		b := q.alone("b")
		for _, share := range []bool{false, true} {
			if got, ok := try(share); ok || got == nil || *got != (told{"a", 2}) {
				t.Errorf("share=%v: %v, %v", share, got, ok)
			}
		}
		if q.Seize(key, "s") {
			t.Error("an occupied lane was seized")
		}
		q.Leave(key)
		b.has(0, 0)
		q.Leave(key)
		q.wantVacant()
	})
}

func TestOneThatGivesUpIsAsIfItHadNotCome(t *testing.T) {
	for _, who := range []int{0, 1, 2} {
		run(t, func(q *table) {
			q.alone("a")
			line := []*call{q.alone("b"), q.alone("c"), q.alone("d")}
			line[who].withdraw()
			if n := q.Waiting(key); n != 2 {
				t.Errorf("%d wait, want 2", n)
			}
			last := q.alone("e")
			if want := []string{"d", "d", "c"}[who]; last.ahead != want || last.n != 3 {
				t.Errorf("e was told %q, %d; want %q, 3", last.ahead, last.n, want)
			}
			for i, w := range append(line, last) {
				if i != who {
					q.waits(w)
					q.Leave(key)
					w.has(0, 0)
				}
			}
			q.Leave(key)
			q.wantVacant()
		})
	}
}

func TestStopEndsAllWaits(t *testing.T) {
	run(t, func(q *table) {
		q.alone("a")
		b, c := q.alone("b"), q.alone("c")
		q.stop()
		b.failed()
		c.failed()
		q.Leave(key)
		q.wantVacant()
		q.alone("a").has(0, 0) // a free lane is still to be had
	})
}

// The lane passes to b while blocked runs, and b is gone then.
func TestALaneThatPassesToOneThatGivesUpGoesOnToTheNext(t *testing.T) {
	for name, ends := range harm {
		t.Run(name, func(t *testing.T) {
			run(t, func(q *table) {
				q.alone("a")
				gate := make(chan struct{})
				b := q.enter("b", false, func(a *call) { <-gate; ends(a) })
				c := q.alone("c")
				q.Leave(key)
				q.waits(b, c)
				close(gate)
				b.failed()
				c.has(0, 0)
				q.Leave(key)
				q.wantVacant()
				if len(q.orphans) > 0 {
					t.Errorf("orphans %v", q.orphans)
				}
			})
		})
	}
}

// The lane passes and ctx ends at once: b gets the lane or not, and nothing in between.
func TestALaneThatPassesAsCtxEndsIsNotLost(t *testing.T) {
	run(t, func(q *table) {
		got := map[bool]int{}
		for range 200 {
			q.alone("a").has(0, 0)
			b := q.enter("b", false, func(a *call) { q.Leave(key); a.cancel() })
			<-b.done
			got[b.ok]++
			if b.ok {
				q.Leave(key)
			}
			q.wantVacant()
		}
		if got[true] == 0 || got[false] == 0 {
			t.Errorf("it was always the same: %v", got)
		}
	})
}

func TestACallbackThatDoesNotReturnLeavesTheLineAsItWas(t *testing.T) {
	for name, ends := range harm {
		t.Run(name, func(t *testing.T) {
			run(t, func(q *table) {
				q.alone("a")
				q.enter("b", false, ends).failed()
				c := q.alone("c")
				if c.ahead != "a" || c.n != 1 {
					t.Errorf("c was told %q, %d", c.ahead, c.n)
				}
				q.Leave(key)
				c.has(0, 0)
				q.Leave(key)
				q.wantVacant()
			})
		})
	}
}
