package place

import (
	"fmt"
	"testing"
	"time"

	"github.com/phpgao/elock/internal/record"
)

func TestAnEntryThatFindsSlotsIsAsTheFirst(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		l := b.lease()
		two, one, large, small := b.slots("a", 4, 2, l), b.slots("b", 4, 1, l), b.slots("c", 4, 2, l), b.slots("d", 4, 1, l)
		b.at(two, 0, nil)
		b.at(one, 0, nil)
		b.at(large, 2, one)
		b.at(small, 3, large) // there is a slot, but it is not for this one
		b.delete(one)
		b.at(large, 0, nil)
		b.at(small, 2, large)
		b.delete(two)
		b.at(small, 0, nil)
	})
}

func TestWhoWantsTheLockInAnotherWayIsAheadOfSlots(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		l := b.lease()
		others := map[string]func() *Place{
			"alone":      func() *Place { return b.put("other", record.Exclusive, l) },
			"foreign":    func() *Place { return b.put("other", "", l) },
			"shared":     func() *Place { return b.put("other", record.Shared, l) },
			"more slots": func() *Place { return b.slots("other", 5, 1, l) },
		}
		for _, put := range others {
			other := put()
			p := b.slots("p", 4, 1, l)
			b.at(p, 1, other)
			b.delete(other)
			b.at(p, 0, nil)
			other = put()
			b.at(other, 1, p)
			b.delete(p)
			b.at(other, 0, nil)
			b.delete(other)
		}
	})
}

// Of a long queue it knows as much as tells that it has to wait, and reads the rest when its turn is near.
func TestOneThatWaitsForSlotsHearsThatAnyOfThemIsFree(t *testing.T) {
	const n = Nearby + 4
	inBed(t, false, func(t *testing.T, b *bed) {
		l := b.lease()
		var all []*Place
		for i := range n + Nearby + 5 {
			all = append(all, b.slots(fmt.Sprintf("%02d", i), n, 1, l))
		}
		last := all[len(all)-1]
		b.at(last, 0, all[len(all)-2])
		w := b.wait(last)
		time.Sleep(time.Second) // the watch is in place
		reads := b.reads.Load()
		for _, p := range all[1 : len(all)-n] { // the first stays, and so does who is directly ahead
			w.goesOn()
			b.delete(p)
		}
		w.goesOn()
		b.delete(all[len(all)-n])
		deleted := time.Now()
		w.returns(nil)
		if looked, late := b.reads.Load()-reads, time.Since(deleted); !last.First() || looked > 3 || late > time.Second {
			t.Errorf("first: %v, after %d reads and %v", last.First(), looked, late)
		}
	})
}

func TestOneThatWaitsForSlotsReadsAgainWhatAWatchMayHaveMissed(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		l := b.lease()
		all := []*Place{b.slots("0", 2, 1, l), b.slots("1", 2, 1, l), b.slots("2", 2, 1, l)}
		if err := all[2].Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.delete(all[0]) // before there is a watch
		w := &wait{b: b, p: all[2], done: make(chan error, 1), cancel: func() {}, began: time.Now()}
		go func() { w.done <- all[2].Await(t.Context()) }()
		if d := w.returns(nil); !all[2].First() || d > time.Second {
			t.Errorf("first: %v, after %v", all[2].First(), d)
		}
	})
}

func TestWithoutAWatchOneThatWaitsForSlotsLooksAgain(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		l := b.lease()
		all := []*Place{b.slots("0", 2, 1, l), b.slots("1", 2, 1, l), b.slots("2", 2, 1, l)}
		b.deaf.Store(true)
		w := b.wait(all[2])
		time.Sleep(10 * time.Second)
		w.goesOn()
		b.delete(all[0])
		if w.returns(nil); !all[2].First() {
			t.Error("it does not hold")
		}
	})
}

// Keys that are no entries, near a long queue's end, hide none of the entries.
func TestKeysWithoutALeaseHideNoSlotsThatAreTaken(t *testing.T) {
	const n = 2
	inBed(t, false, func(t *testing.T, b *bed) {
		l := b.lease()
		first, second := b.slots("first", n, 1, l), b.slots("second", n, 1, l)
		for i := range n + Nearby + 1 {
			b.put(fmt.Sprint("left behind ", i), "", 0)
		}
		p := b.slots("p", n, 1, l)
		b.at(p, 2, second)
		b.delete(first)
		b.at(p, 0, nil)
	})
}
