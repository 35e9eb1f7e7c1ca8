package lane

import (
	"slices"
	"testing"
	"time"
)

// share shares the lane with 7 in it. It counts how often it is asked for another term.
func (q *table) share() *asked {
	a := new(asked)
	q.Share(key, 7, func(s *Sharing[string, int]) { a.s, a.times = s, a.times+1 })
	return a
}

type asked struct {
	s     *Sharing[string, int]
	times int
}

func (a *asked) want(t *testing.T, times int) {
	t.Helper()
	if a.times != times {
		t.Fatalf("asked %d times for another term, want %d", a.times, times)
	}
}

// part wants all but the last of n to have nothing when they part, leaves the lane for the last, and wants it vacant.
func (q *table) part(n int) {
	q.t.Helper()
	for i := range n {
		if alone := q.Part(key); alone != (i == n-1) {
			q.t.Fatalf("number %d of %d is alone: %v", i+1, n, alone)
		}
	}
	q.Leave(key)
	q.wantVacant()
}

func TestCallersJoinThoseWhoShareWithinATerm(t *testing.T) {
	run(t, func(q *table) {
		q.sharing("a").has(0, 0)
		b := q.sharing("b")
		q.waits(b) // the lane is not shared yet
		asked := q.share()
		b.has(7, 1)
		time.Sleep(term - 1)
		if c := q.sharing("c").has(7, 2); c.times != 0 {
			t.Error("c was blocked")
		}
		if c, nth, ok := q.TryEnter(key, "d", true, func(string, int) {}); c != 7 || nth != 3 || !ok {
			t.Errorf("a try got %d, %d, %v", c, nth, ok)
		}
		if _, _, ok := q.TryEnter(key, "e", false, func(by string, n int) {
			if by != "a" || n != 1 {
				t.Errorf("a try was told %q, %d", by, n)
			}
		}); ok {
			t.Error("one that does not share got the lane")
		}
		asked.want(t, 0)
		q.part(4)
	})
}

func TestAfterTheTermOneAsksForAnother(t *testing.T) {
	run(t, func(q *table) {
		q.sharing("a")
		asked := q.share()
		time.Sleep(term)
		b, c := q.sharing("b"), q.sharing("c")
		q.waits(b, c)
		asked.want(t, 1)
		if asked.s.Renew(false) {
			t.Error("done, though b waits")
		}
		d := q.sharing("d")
		q.waits(b, c, d)
		asked.want(t, 1) // the first goes on with it
		if !asked.s.Renew(true) {
			t.Error("not done, though nobody waits")
		}
		b.has(7, 1)
		c.has(7, 2)
		d.has(7, 3)
		q.sharing("e").has(7, 4)
		time.Sleep(term)
		f := q.sharing("f")
		q.waits(f)
		asked.want(t, 2)
		f.withdraw()
		if !asked.s.Renew(false) {
			t.Error("not done, though nobody waits any more")
		}
		g := q.sharing("g")
		q.waits(g)
		asked.want(t, 3)
		q.waits(g)
		g.withdraw()
		q.part(5)
	})
}

func TestOneThatSharesOvertakesNobody(t *testing.T) {
	run(t, func(q *table) {
		q.sharing("a")
		b, x, c := q.sharing("b"), q.alone("x"), q.sharing("c")
		asked := q.share()
		b.has(7, 1)
		q.waits(x, c)
		d := q.sharing("d")
		if d.ahead != "c" || d.n != 3 {
			t.Errorf("d was told %q, %d", d.ahead, d.n)
		}
		if _, _, ok := q.TryEnter(key, "e", true, func(string, int) {}); ok {
			t.Error("a try overtook those who wait")
		}
		time.Sleep(term)
		q.waits(x, c, d)
		asked.want(t, 0) // it would be of no use
		if q.Part(key) || !q.Part(key) {
			t.Fatal("the second is not the last")
		}
		q.Leave(key)
		x.has(0, 0)
		q.waits(c, d) // they share with each other only
		q.Leave(key)
		c.has(0, 0)
		q.Share(key, 8, func(*Sharing[string, int]) {})
		d.has(8, 1)
		q.part(2)
	})
}

func TestWhenOneThatDoesNotShareGivesUpThoseBehindItJoin(t *testing.T) {
	run(t, func(q *table) {
		q.sharing("a")
		asked := q.share()
		x, b := q.alone("x"), q.sharing("b")
		q.waits(x, b)
		x.withdraw()
		b.has(7, 1)
		y, c := q.alone("y"), q.sharing("c")
		time.Sleep(term)
		y.withdraw()
		q.waits(c)
		asked.want(t, 1)
		asked.s.Renew(true)
		c.has(7, 2)
		q.part(3)
	})
}

func TestTheLastOfThoseWhoShareHasTheLane(t *testing.T) {
	run(t, func(q *table) {
		q.alone("a")
		if !q.Part(key) {
			t.Error("one that does not share is not alone")
		}
		q.share()
		q.sharing("b").has(7, 1)
		x := q.alone("x")
		if q.Part(key) {
			t.Error("the first is alone while another shares")
		}
		if !q.Part(key) {
			t.Error("the last is not alone")
		}
		if !q.Part(key) {
			t.Error("the last is not alone any more")
		}
		c := q.sharing("c")
		q.waits(x, c) // nobody joins the last
		if !q.Hand(key, 9, q.Next(key)) {
			t.Error("it could not hand the lane over")
		}
		x.has(9, 0)
		q.Leave(key)
		c.has(0, 0)
		q.Leave(key)
		q.wantVacant()
	})
}

func TestATermThatIsClosedIsOver(t *testing.T) {
	run(t, func(q *table) {
		q.sharing("a")
		asked := q.share()
		q.sharing("b").has(7, 1)
		q.Close(key)
		c := q.sharing("c")
		q.waits(c)
		asked.want(t, 1)
		q.Part(key)
		q.Part(key)
		q.Leave(key)
		c.has(0, 0)
		q.Leave(key)
		q.wantVacant()
	})
}

// Whoever asks for another term may be late: the sharing is over, and perhaps there is another.
func TestASharingThatIsOverIsNotRenewed(t *testing.T) {
	run(t, func(q *table) {
		q.sharing("a")
		old := q.share()
		time.Sleep(term)
		b := q.sharing("b")
		old.want(t, 1)
		q.Part(key)
		q.Leave(key)
		b.has(0, 0)
		c := q.sharing("c")
		if !old.s.Renew(true) {
			t.Error("not done before the lane is shared again")
		}
		q.waits(c)
		recent := q.share()
		c.has(7, 1)
		time.Sleep(term)
		d := q.sharing("d")
		recent.want(t, 1)
		if !old.s.Renew(true) {
			t.Error("not done, though another shares the lane")
		}
		q.waits(d)
		d.withdraw()
		q.part(2)
		if !recent.s.Renew(true) {
			t.Error("not done without a lane")
		}
	})
}

func TestSharedTellsWhetherAllShare(t *testing.T) {
	run(t, func(q *table) {
		want := func(shared bool) {
			t.Helper()
			if q.Shared(key) != shared {
				t.Errorf("shared: %v", !shared)
			}
		}
		want(false)
		q.sharing("a")
		want(false)
		q.share()
		want(true)
		time.Sleep(term)
		b := q.sharing("b")
		want(true)
		x := q.alone("x")
		want(false)
		x.withdraw()
		want(true)
		b.withdraw()
		q.part(1)
		want(false)
	})
}

func TestOneThatJoinedAndIsGoneIsAnOrphan(t *testing.T) {
	for name, ends := range harm {
		t.Run(name, func(t *testing.T) {
			run(t, func(q *table) {
				q.sharing("a")
				gate := make(chan struct{})
				b := q.enter("b", true, func(a *call) { <-gate; ends(a) })
				c := q.sharing("c")
				q.share()
				c.has(7, 2)
				close(gate)
				b.failed()
				if !slices.Equal(q.orphans, []int{7}) {
					t.Errorf("orphans %v, want 7", q.orphans)
				}
				q.part(3) // of which one in place of b
			})
		})
	}
}
