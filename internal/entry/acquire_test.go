package entry

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phpgao/elock/internal/lease"
	"github.com/phpgao/elock/internal/proctest"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/keyspace"
)

func TestALockIsGotAndLeft(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		as := caller("a", alone)
		as.Annotations = map[string]string{"note": "this"}
		g, err := b.Acquire(t.Context(), key, as, false, nil)
		if err != nil || g.Turn != 0 || g.Read != nil {
			t.Fatalf("%+v, %v", g, err)
		}
		r, ok := record.Parse(b.kvs()[0].Value)
		if !ok || r.Owner != "a" || r.Mode != record.Exclusive || !r.Since.Equal(as.Since) || r.Annotations["note"] != "this" {
			t.Errorf("the record is %+v", r)
		}
		if b.Lanes.Vacant(key) {
			t.Error("the lane is vacant")
		}
		b.releases(g.Entry, "left")
		b.free()
		time.Sleep(2 * time.Hour)
		if n := b.Leases.Count(); n != 0 {
			t.Errorf("%d leases stay though nobody uses them", n)
		}
	})
}

func TestATryFailsWhereAnotherWaits(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		remove := b.foreign("other")
		first := b.startWith("try", alone, true, func() {})
		first.fails(errLocked)
		if a := first.behind(); a.Local || a.N != 1 || string(a.Entry.Key) != "/elock/lock/other" {
			t.Errorf("ahead in etcd: %+v", a)
		}
		b.queued("other")
		remove()
		g := b.get("a", alone)
		b.costs(0, func() {
			second := b.startWith("try", alone, true, func() {})
			second.fails(errLocked)
			if a := second.behind(); !a.Local || a.N != 1 || a.By.Name != "a" || a.Entry != nil {
				t.Errorf("ahead here: %+v", a)
			}
			b.startWith("try", slots(2, 1), true, func() {}).fails(errLocked)
		})
		b.releases(g.Entry, "left")
		b.free()
	})
}

func TestAWaiterIsToldWhoIsAhead(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		remove := b.foreign("other")
		first := b.start("first", alone)
		second := b.start("second", alone)
		if a := first.behind(); a.Local || a.N != 1 || string(a.Entry.Key) != "/elock/lock/other" {
			t.Errorf("ahead of the first: %+v", a)
		}
		if a := second.behind(); !a.Local || a.N != 1 || a.By.Name != "first" {
			t.Errorf("ahead of the second: %+v", a)
		}
		first.waits()
		remove()
		b.releases(first.gets().Entry, "passed")
		b.releases(second.gets().Entry, "left")
		b.free()
	})
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		remove := b.foreign("other")
		first, second := b.start("first", alone), b.start("second", alone)
		second.cancel()
		second.fails(context.Canceled)
		first.waits()
		first.cancel()
		first.fails(context.Canceled)
		b.queued("other")
		remove()
		b.free()
	})
}

func TestAWaitEndsWhenNoMoreAcquiresAreTaken(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		remove := b.foreign("other")
		first, second := b.start("first", alone), b.start("second", alone)
		b.stop(errClosed)
		second.fails(errClosed)
		first.waits() // as long as its lease lets it
		remove()
		b.releases(first.gets().Entry, "left")
		b.free()
	})
}

func TestAnAcquireThatEtcdDoesNotAnswerSaysSo(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		b.silence(true)
		a := b.start("a", alone)
		time.Sleep(time.Minute / 2)
		a.waits()
		a.cancel()
		began := time.Now()
		a.fails(context.Canceled, errSilent)
		if d := time.Since(began); d > time.Second {
			t.Errorf("it returned after %v", d)
		}
		if b.Lanes.Vacant(key) {
			t.Error("the lane is open though the entry may be in etcd")
		}
		b.silence(false)
		time.Sleep(10 * time.Second)
		b.free()
	})
}

func TestWithoutALeaseTheLaneIsLeft(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		b.noLease = true
		b.start("a", alone).fails(errNoLease)
		b.free()
	})
}

func TestALaneThatComesAsTheCallerGivesUpIsLeft(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		b.costs(0, func() {
			if g, err := b.Acquire(ctx, key, caller("a", alone), false, nil); err != context.Canceled {
				t.Errorf("%+v, %v", g, err)
			}
		})
		b.free()
	})
}

// The entry is deleted while its owner waits, or its lease is lost.
func TestAWaiterThatLosesItsPlaceQueuesAgain(t *testing.T) {
	for name, lose := range map[string]func(b *bed){
		"deleted": func(b *bed) { proctest.Must(b.Other.Delete(b.t.Context(), string(b.kvs()[1].Key))) },
		"lease":   func(b *bed) { proctest.Must(b.Leases.Use(b.t.Context(), 100)).Lose(lease.Expired) },
	} {
		t.Run(name, func(t *testing.T) {
			inBed(t, nil, func(t *testing.T, b *bed) {
				remove := b.foreign("other")
				a := b.start("a", alone)
				before := b.kvs()[1].CreateRevision
				lose(b)
				time.Sleep(time.Second)
				a.waits()
				kvs := b.kvs()
				if last := kvs[len(kvs)-1]; last.CreateRevision == before {
					t.Errorf("in etcd: %v", kvs)
				}
				if !b.Logged("queueing again") {
					t.Error("that is not logged")
				}
				remove()
				b.releases(a.gets().Entry, "left")
			})
		})
	}
}

// Whoever is first in the queue as it gives up has the next goroutine here get the lock.
func TestALockThatComesAsTheCallerGivesUpPassesOn(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		remove := b.foreign("other")
		want := alone
		want.Reads = []string{"/x"}
		first := b.start("first", want)
		second := b.start("second", alone)
		b.slowly(10 * time.Millisecond)
		remove()
		time.Sleep(5 * time.Millisecond) // it is the first, and reads
		first.cancel()
		first.fails(context.Canceled)
		g := second.gets()
		if g.Turn != 1 || g.Read != nil {
			t.Errorf("it got %+v", g)
		}
		b.queued("first")
		b.releases(g.Entry, "left")
		b.free()
	})
}

// An entry that outlives the process gives its lane up, but stays in etcd, under the name that the next one here would have.
func TestALaneThatComesAsTheProcessEndsIsOfNoUse(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		stays := b.get("stays", alone).Entry
		next := b.start("next", alone)
		b.costs(0, func() {
			stays.OpenLane()
			b.stop(errClosed) // before the next one runs
			next.fails(errClosed)
		})
		b.queued("stays")
	})
}

// What it has read is not for the next one.
func TestALockThatIsGrantedAsTheCallerGivesUpPassesOn(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		b.slowly(100 * time.Millisecond)
		first, second := b.start("first", reading), b.start("second", reading)
		time.Sleep(50 * time.Millisecond) // the answer is on its way
		proctest.Must(b.Other.Put(t.Context(), "/x", "new"))
		first.cancel()
		first.fails(context.Canceled)
		g := second.gets()
		if g.Turn != 1 || g.Read.KVs[0] == nil {
			t.Errorf("it got %+v", g)
		}
		b.queued("first")
		b.releases(g.Entry, "left")
		b.free()
	})
}

func TestAnEntryWhoseLeaseIsLostIsNotHeld(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		e := b.get("a", alone).Entry
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := e.check(ctx); err == nil || b.Failure(ctx, err) != context.Canceled {
			t.Errorf("under a context that is done: %v", err)
		}
		e.Lease.Lose(lease.Expired)
		if err := e.check(t.Context()); err != proctest.ErrLost {
			t.Errorf("under a lost lease: %v", err)
		}
		if e.passable() || e.usable(&alone) {
			t.Error("it may be held by others")
		}
		b.releases(e, "left")
	})
}

func TestALeaseThatIsOverdueIsLostAtTheGrant(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		e := b.get("a", Want{Seconds: 10}).Entry
		b.Mine.Partition()
		time.Sleep(20 * time.Second)
		if err := e.check(t.Context()); err != proctest.ErrLost {
			t.Error(err)
		}
		b.Mine.Heal()
		e.Done()
	})
}

func TestAGoroutineThatEndsAsItIsBlockedLeavesNothing(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		remove := b.foreign("other")
		inEtcd := b.startWith("etcd", alone, false, runtime.Goexit)
		inEtcd.returns()
		b.queued("other")
		remove()
		b.free()

		g := b.get("a", alone)
		here := b.startWith("here", alone, false, runtime.Goexit)
		here.returns()
		if !inEtcd.exited || !here.exited {
			t.Error("a goroutine went on")
		}
		b.releases(g.Entry, "left")
		b.free()
	})
}

// An entry that passes to a goroutine which has ended is removed.
func TestAnEntryThatPassesToAGoroutineThatEndsIsRemoved(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		g := b.get("a", alone)
		passed := make(chan struct{})
		a := b.startWith("b", alone, false, func() {
			<-passed
			runtime.Goexit()
		})
		b.releases(g.Entry, "passed")
		close(passed)
		a.returns()
		b.free()
	})
}

func TestSeveralLocksAreSeizedTogether(t *testing.T) {
	keys := []keyspace.Key{keyspace.MustParse("a"), key}
	want := alone
	want.Reads = []string{"/x"}
	callers := []Caller{caller("a", want), caller("a", want)}
	inBed(t, nil, func(t *testing.T, b *bed) {
		l := proctest.Must(b.Leases.Use(t.Context(), 100))
		seize := func(want error) []*Entry {
			entries, err := b.Seize(t.Context(), l, keys, callers)
			if err != want {
				t.Fatalf("%v, want %v", err, want)
			}
			return entries
		}
		var all []*Entry
		b.costs(1, func() { all = seize(nil) })
		if len(all) != 2 || all[0].TakeRead() != nil || all[1].TakeRead() == nil || all[1].TakeRead() != nil {
			t.Errorf("%d entries", len(all))
		}
		b.queued("a")
		Abandon(errReleased, all...)
		b.free()

		remove := b.foreign("other") // in etcd
		entries := seize(errLocked)
		if len(entries) != 2 {
			t.Errorf("%d entries", len(entries))
		}
		Abandon(errLocked, entries...)
		remove()

		g := b.get("here", alone)
		b.costs(0, func() {
			if entries = seize(errLocked); len(entries) != 1 {
				t.Errorf("%d entries", len(entries))
			}
			Abandon(errLocked, entries...)
		})
		b.releases(g.Entry, "left")

		l.Lose(lease.Expired)
		entries, err := b.Seize(t.Context(), l, keys, callers)
		if err == nil {
			t.Error("entries came under a lost lease")
		}
		Abandon(err, entries...)
		time.Sleep(2 * time.Minute) // nobody renews it
		b.free()
		if !b.Lanes.Vacant(keys[0]) {
			t.Error("the first lane is not vacant")
		}
		Abandon(err)
	})
}

// While etcd is silent, whoever abandons an entry waits a moment only, and the lane stays closed.
func TestAbandonWaitsAMomentOnly(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		e := b.get("a", alone).Entry
		other, err := b.Acquire(t.Context(), keyspace.MustParse("other"), caller("a", alone), false, nil)
		if err != nil {
			t.Fatal(err)
		}
		b.silence(true)
		time.AfterFunc(2*time.Second, func() { b.silence(false) })
		began := time.Now()
		Abandon(errReleased, e, other.Entry)
		if d := time.Since(began); d <= 0 || d > time.Second {
			t.Errorf("it waited for %v", d)
		}
		next := b.start("b", alone)
		next.waits()
		g := next.gets()
		b.queued("b")
		b.releases(g.Entry, "left")
		b.free()
	})
}

func TestWhatIsSettledWhenTheProcessEndsIsLeftToItsLease(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		e := b.get("a", alone).Entry
		b.End()
		settled := false
		e.Settle(errReleased, func() { settled = true })
		synctest.Wait()
		if !settled || !b.Lanes.Vacant(key) {
			t.Error("the lane is closed")
		}
	})
}
