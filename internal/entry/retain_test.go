package entry

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phpgao/elock/internal/lease"
)

func TestALockIsRetainedAndAcquiredAgainWithoutACall(t *testing.T) {
	inBed(t, retaining, func(t *testing.T, b *bed) {
		g := b.get("a", alone)
		b.releases(g.Entry, "retained")
		synctest.Wait()
		b.costs(0, func() {
			n := b.get("b", alone)
			if n.Entry != g.Entry || n.Turn != 1 {
				t.Errorf("it got %+v", n)
			}
			if !n.Entry.Pass(func() {}) {
				t.Error("it is not parked again")
			}
			if n = b.get("c", alone); n.Turn != 2 {
				t.Errorf("it got %+v", n)
			}
		})
		b.releases(g.Entry, "left") // it has had its turns
		b.free()
	})
}

func TestALockIsNotRetained(t *testing.T) {
	for name, c := range map[string]func(b *bed) *Entry{
		"that others wanted": func(b *bed) *Entry {
			remove := b.foreign("other")
			a := b.start("a", alone)
			remove()
			return a.gets().Entry
		},
		"of slots":       func(b *bed) *Entry { return b.get("a", slots(2, 1)).Entry },
		"that is shared": func(b *bed) *Entry { return b.get("a", shared).Entry },
		"that others wait for now": func(b *bed) *Entry {
			e := b.get("a", alone).Entry
			b.foreign("other")
			return e
		},
		"whose process takes no more acquires": func(b *bed) *Entry {
			e := b.get("a", alone).Entry
			e.Lease.Lose(lease.Expired)
			return e
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBed(t, retaining, func(t *testing.T, b *bed) {
				b.releases(c(b), "left")
				if !b.Lanes.Vacant(key) {
					t.Error("the lane is not vacant")
				}
			})
		})
	}
	t.Run("by a process that retains none", func(t *testing.T) {
		inBed(t, nil, func(t *testing.T, b *bed) { b.releases(b.get("a", alone).Entry, "left") })
	})
}

func TestARetainedLockIsGivenUpWhenOthersQueue(t *testing.T) {
	inBed(t, retaining, func(t *testing.T, b *bed) {
		b.releases(b.get("a", alone).Entry, "retained")
		synctest.Wait()
		b.foreign("other")
		b.queued("other")
		if !b.Lanes.Vacant(key) {
			t.Error("the lane is not vacant")
		}
	})
}

// While it is held, it stays; the release gives it up.
func TestARetainedLockThatIsHeldIsGivenUpByTheRelease(t *testing.T) {
	inBed(t, retaining, func(t *testing.T, b *bed) {
		b.releases(b.get("a", alone).Entry, "retained")
		g := b.get("b", alone)
		synctest.Wait()
		remove := b.foreign("other")
		b.queued("a", "other")
		b.releases(g.Entry, "left")
		b.queued("other")
		remove()
		b.free()
	})
}

func TestARetainedLockIsWantedAtTheMomentItIsParked(t *testing.T) {
	inBed(t, retaining, func(t *testing.T, b *bed) {
		b.releases(b.get("a", alone).Entry, "retained")
		g := b.get("b", alone)
		synctest.Wait()
		if !g.Entry.Pass(func() { b.foreign("other") }) {
			t.Fatal("it was not parked")
		}
		synctest.Wait()
		b.queued("other")
		if !b.Lanes.Vacant(key) {
			t.Error("the lane is not vacant")
		}
	})
}

// A caller that comes while the entry is about to be parked gets the lane later.
func TestALockForWhichSomebodyComesIsNotParked(t *testing.T) {
	inBed(t, retaining, func(t *testing.T, b *bed) {
		g := b.get("a", alone)
		var next *acquire
		w := b.Etcd.Detached(t.Context())
		defer w.Stop()
		if g.Entry.Retain(w, func() { next = b.start("b", alone) }) {
			t.Fatal("it is retained")
		}
		if ok, err := g.Entry.Requeue(w, func() {}); !ok || err != nil {
			t.Fatal(ok, err)
		}
		b.releases(next.gets().Entry, "retained")
	})
}

func TestARetainedLockThatDoesNotSuitIsReplaced(t *testing.T) {
	for name, want := range map[string]Want{"TTL": {Seconds: 3}, "share": shared, "announce": {Seconds: 100, Announces: true}} {
		t.Run(name, func(t *testing.T) {
			inBed(t, retaining, func(t *testing.T, b *bed) {
				e := b.get("a", alone).Entry
				b.releases(e, "retained")
				g := b.get("b", want)
				if g.Entry == e || g.Turn != 0 {
					t.Errorf("it got %+v", g)
				}
				b.queued("b")
			})
		})
	}
}

func TestARetainedLockThatCannotBeReplacedIsSettled(t *testing.T) {
	inBed(t, retaining, func(t *testing.T, b *bed) {
		b.releases(b.get("a", alone).Entry, "retained")
		b.silence(true)
		a := b.start("b", Want{Seconds: 3})
		a.waits()
		a.cancel()
		a.fails(context.Canceled, errSilent)
		if b.Lanes.Vacant(key) {
			t.Error("the lane is open")
		}
		b.silence(false)
		time.Sleep(10 * time.Second)
		b.free()
	})
}

func TestARetainedLockThatEtcdDoesNotLetGoIsSettled(t *testing.T) {
	inBed(t, retaining, func(t *testing.T, b *bed) {
		b.releases(b.get("a", alone).Entry, "retained")
		synctest.Wait()
		b.silence(true)
		b.stop(errClosed)
		time.Sleep(10 * time.Second)
		if b.Lanes.Vacant(key) || !b.Logged("after=released") {
			t.Error("the lane is open, or nothing is logged")
		}
		b.silence(false)
		time.Sleep(10 * time.Second)
		b.free()
	})
}
