package entry

import (
	"context"
	"testing"
	"time"

	"github.com/phpgao/elock/internal/lease"
)

func TestCallersShareOneEntry(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		first := b.get("a", shared)
		var all []Grant
		b.costs(0, func() {
			for range 3 {
				all = append(all, b.get("b", shared))
			}
		})
		for i, want := range []int{1, 2, 2} { // there are no more turns
			if g := all[i]; g.Entry != first.Entry || g.Turn != want {
				t.Errorf("the %d. to join got %+v", i+1, g)
			}
		}
		b.queued("a")
		writer := b.start("w", alone)
		for range all {
			b.releases(first.Entry, "parted")
		}
		writer.waits()
		b.releases(first.Entry, "requeued")
		b.releases(writer.gets().Entry, "left")
		b.free()
	})
}

func TestOneWhoSharesSettlesForTheLastOnly(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		e := b.get("a", shared).Entry
		b.get("b", shared)
		b.get("c", shared)
		settled := 0
		e.Settle(errReleased, func() { settled++ })
		e.Done()
		if settled != 1 || b.Lanes.Vacant(key) {
			t.Fatal("it is over for all")
		}
		b.queued("a")
		b.releases(e, "left")
		b.free()
	})
}

// After the term, etcd is asked whether anybody waits elsewhere.
func TestCallersShareForAnotherTermUnlessOthersWait(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		e := b.get("a", shared).Entry
		time.Sleep(2 * shareTerm)
		next := b.start("b", shared)
		if g := next.gets(); g.Entry != e {
			t.Errorf("it got %+v", g)
		}
		time.Sleep(2 * shareTerm)
		try := b.startWith("c", shared, true, func() {})
		if g := try.gets(); g.Entry != e {
			t.Errorf("a try got %+v", g)
		}
		remove := b.foreign("other")
		time.Sleep(2 * shareTerm)
		late := b.start("d", shared)
		late.waits()
		b.startWith("e", shared, true, func() {}).fails(errLocked)
		b.releases(e, "parted")
		b.releases(e, "parted")
		b.releases(e, "requeued")
		late.waits()
		b.queued("other", "d")
		remove()
		b.releases(late.gets().Entry, "left")
		b.free()
	})
}

func TestWhoJoinsReadsForItself(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		e := b.get("a", shared).Entry
		want := shared
		want.Reads = []string{"/x"}
		b.costs(1, func() {
			if g := b.get("b", want); g.Entry != e || g.Read == nil || g.Read.KVs[0] != nil {
				t.Errorf("it got %+v", g)
			}
		})
	})
}

// Who joins and gives up leaves the others the lock; the last one gives it up.
func TestWhoJoinsAndGivesUpParts(t *testing.T) {
	for name, alone := range map[string]bool{"with others": false, "alone": true} {
		t.Run(name, func(t *testing.T) {
			inBed(t, nil, func(t *testing.T, b *bed) {
				e := b.get("a", shared).Entry
				want := shared
				want.Reads = []string{"/x"}
				b.slowly(time.Second / 2)
				a := b.start("b", want)
				a.waits()
				if alone && e.Sole() {
					t.Fatal("the other is not there")
				}
				a.cancel()
				a.fails(context.Canceled)
				b.slowly(0)
				time.Sleep(time.Second)
				if !alone {
					b.releases(e, "left")
				}
				b.free()
			})
		})
	}
}

// The lease under which others hold is lost: nobody joins any more.
func TestWhoJoinsUnderALostLeaseQueuesAgain(t *testing.T) {
	for name, alone := range map[string]bool{"with others": false, "alone": true} {
		t.Run(name, func(t *testing.T) {
			inBed(t, nil, func(t *testing.T, b *bed) {
				e := b.get("a", shared).Entry
				want := shared
				want.Reads = []string{"/x"}
				b.slowly(time.Second)
				a := b.start("b", want)
				a.waits()
				if alone && e.Sole() {
					t.Fatal("the other is not there")
				}
				e.Lease.Lose(lease.Expired)
				b.slowly(0)
				if !alone {
					time.Sleep(2 * time.Second)
					a.waits()
					b.releases(e, "left")
				}
				g := a.gets()
				if g.Entry == e || g.Turn != 0 {
					t.Errorf("it got %+v", g)
				}
				b.releases(g.Entry, "left")
			})
		})
	}
}

func TestNobodyFollowsOneWhoShares(t *testing.T) {
	inBed(t, retaining, func(t *testing.T, b *bed) {
		e := b.get("a", shared).Entry
		if f := e.Follow(t.Context(), true); f.Stays || f.Successor != nil {
			t.Errorf("%+v follows", f)
		}
		b.releases(e, "left")
	})
}
