package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/lease"
	"github.com/phpgao/elock/internal/proctest"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/keyspace"
)

// modes are the ways to join an empty queue.
var modes = map[string]struct {
	mode string
	try  bool
}{"alone": {record.Exclusive, false}, "shared": {record.Shared, false}, "try": {record.Exclusive, true}, "shared try": {record.Shared, true}}

func TestAnEmptyQueueIsJoinedWithOneWrite(t *testing.T) {
	for name, m := range modes {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(t *testing.T, b *bed) {
				proctest.Must(b.Other.Put(t.Context(), "value", "old"))
				e := b.entry(100, m.mode, "value", "none")
				b.obtain(e, m.try)
				b.holds(e)
				if r := e.Read; r == nil || r.Rev != e.Rev || string(r.KVs[0].Value) != "old" || r.KVs[1] != nil {
					t.Errorf("read %+v", r)
				}
				if b.write != 1 || b.reads != 0 {
					t.Errorf("%d writes, %d reads", b.write, b.reads)
				}
				if gone, err := b.leave(e); !gone || err != nil {
					t.Error(gone, err)
				}
				b.empty()
			})
		})
	}
}

func TestThoseWhoWaitHaveTheLockInTheirOrder(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.foreign("a", record.Record{Owner: "a", Mode: record.Exclusive})
		x, y := b.start(b.entry(100, record.Exclusive, "value"), false), b.start(b.entry(200, record.Exclusive), false)
		x.waits()
		if !slices.Equal(x.ahead, []string{"a"}) || !slices.Equal(y.n, []int{2}) {
			t.Errorf("blocked by %v, %v", x.ahead, y.n)
		}
		b.delete("/elock/lock/a")
		x.returns(nil)
		if x.e.Read != nil {
			t.Error("what it read before it was the first counts")
		}
		y.waits()
		if gone, err := b.leave(x.e); !gone || err != nil {
			t.Error(gone, err)
		}
		y.returns(nil)
		b.holds(y.e)
	})
}

func TestATryDoesNotWaitNorLeaveAnything(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.foreign("a", record.Record{Owner: "a", Mode: record.Exclusive})
		b.foreign("b", record.Record{Owner: "b", Mode: record.Exclusive})
		for _, mode := range []string{record.Exclusive, record.Shared} {
			o := b.start(b.entry(100, mode), true)
			o.returns(ErrTaken)
			if !slices.Equal(o.ahead, []string{"a"}) || o.e.Sent || len(b.kvs()) != 2 {
				t.Errorf("%s: by %v, sent: %v", mode, o.ahead, o.e.Sent)
			}
		}
	})
}

func TestOneThatSharesTriesByQueueing(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.foreign("a", record.Record{Owner: "a", Mode: record.Shared})
		e := b.entry(100, record.Shared)
		b.obtain(e, true)
		if !e.First() || len(b.kvs()) != 2 {
			t.Error("it does not share")
		}
	})
}

func TestATryAsksAProcessThatMayOnlyRetainTheLock(t *testing.T) {
	for name, gives := range map[string]bool{"and gets it": true, "which holds it": false, "which does not answer": false} {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(t *testing.T, b *bed) {
				b.foreign("a", record.Record{Owner: "a", Mode: record.Exclusive, Retained: true})
				began := time.Now()
				o := b.start(b.alone(), true)
				o.waits()
				switch name {
				case "and gets it":
					b.delete("/elock/lock/a")
				case "which holds it":
					proctest.Must(b.Other.Put(t.Context(), "/elock/lock/a", string(record.Record{Version: 1, Owner: "a", Mode: record.Exclusive}.Encode()), clientv3.WithIgnoreLease()))
				}
				want := ErrTaken
				if gives {
					want = nil
				}
				o.returns(want)
				limit := 2 * AskPatience
				if name != "which does not answer" {
					limit = AskPatience / 2
				}
				if d := time.Since(began); d > limit {
					t.Errorf("after %v", d)
				}
				if gives {
					b.holds(o.e)
				} else if !o.e.Sent {
					t.Error("it says that it has put nothing")
				}
			})
		})
	}
}

// lost are the ways in which the answer to a write is lost, and whether it was carried out.
var lost = map[string]struct {
	fates []etcdsim.Fate
}{
	"carried out":       {[]etcdsim.Fate{{Lose: etcdsim.Answer}}},
	"not carried out":   {[]etcdsim.Fate{{Lose: etcdsim.Request}}},
	"twice":             {[]etcdsim.Fate{{Lose: etcdsim.Request}, {Lose: etcdsim.Answer}}},
	"silence":           {[]etcdsim.Fate{{Lose: etcdsim.Answer, Hang: true}}},
	"carried out later": {[]etcdsim.Fate{{Lose: etcdsim.Request, Hang: true, Late: 300 * time.Millisecond}}},
}

func TestALostAnswerOfAJoinIsLookedUp(t *testing.T) {
	for name, l := range lost {
		for way, m := range modes {
			t.Run(name+"/"+way, func(t *testing.T) {
				inBed(t, func(t *testing.T, b *bed) {
					b.next(l.fates...)
					e := b.entry(100, m.mode)
					b.obtain(e, m.try)
					b.holds(e)
					time.Sleep(2 * time.Minute) // what comes late is removed
					b.holds(e)
					if b.LateWrites() != 0 {
						t.Error("a write is still looked for")
					}
				})
			})
		}
	}
}

func TestAWriteThatComesAfterItsEntryWasGivenUpIsRemoved(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.next(etcdsim.Fate{Lose: etcdsim.Request, Hang: true, Late: 10 * time.Second})
		e := b.alone()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := e.Obtain(ctx, false, never); err == nil || !e.Sent {
			t.Fatalf("%v, sent: %v", err, e.Sent)
		}
		e.Clean(errUnheard)
		b.empty()
		if b.LateWrites() != 1 {
			t.Fatalf("%d writes are looked for", b.LateWrites())
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		time.Sleep(10 * time.Second)
		b.empty()
		if !b.Logged("written late") {
			t.Error("the log does not say so")
		}
	})
}

// Between a put and the look for it, another entry came under that name and was released.
func TestALateWriteIsNotTakenForAYoungerEntry(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		l := proctest.Must(b.Leases.Use(t.Context(), 100))
		b.next(etcdsim.Fate{Lose: etcdsim.Request, Hang: true, Late: 5 * time.Second})
		e := b.under(l, key, record.Exclusive)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_ = e.Obtain(ctx, false, never)
		e.Clean(errUnheard)
		young := b.under(l, key, record.Exclusive)
		b.obtain(young, false)
		time.Sleep(2 * time.Minute)
		b.holds(young)
	})
}

// The second try of a put was answered, and the first comes when the entry is gone again.
func TestAnEarlierTryThatComesAfterTheReleaseIsRemoved(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.next(etcdsim.Fate{Lose: etcdsim.Request, Hang: true, Late: 5 * time.Second})
		e := b.alone()
		b.obtain(e, false)
		if gone, err := b.leave(e); !gone || err != nil {
			t.Fatal(gone, err)
		}
		time.Sleep(2 * time.Minute)
		b.empty()
	})
}

func TestARefusedPutHasSentNothing(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		for _, try := range []bool{false, true} {
			b.next(etcdsim.Fate{Refuse: rpctypes.ErrGRPCPermissionDenied})
			e := b.alone()
			if err := e.Obtain(t.Context(), try, never); !errors.Is(err, rpctypes.ErrPermissionDenied) || e.Sent {
				t.Errorf("%v, sent: %v", err, e.Sent)
			}
		}
		b.empty()
	})
}

// What is refused for a moment is sent again, and that answer may be lost.
func TestAnEntryWhoseAnswerIsLostAfterARefusalIsSent(t *testing.T) {
	for way, m := range modes {
		t.Run(way, func(t *testing.T) {
			inBed(t, func(t *testing.T, b *bed) {
				b.next(etcdsim.Fate{Refuse: rpctypes.ErrGRPCRequestTooManyRequests}, etcdsim.Fate{Lose: etcdsim.Answer})
				e := b.entry(100, m.mode)
				b.obtain(e, m.try)
				b.holds(e)
			})
		})
	}
}

// The put went over a key that somebody had written by hand under e's name, and that cannot be removed at once.
func TestAnEntryThatIsToBeClearedIsSentThoughTheNextPutIsRefused(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		e := b.alone()
		proctest.Must(b.Other.Put(t.Context(), e.Name, "hand"))
		b.next(etcdsim.Fate{}, etcdsim.Fate{Refuse: rpctypes.ErrGRPCRequestTooManyRequests}, etcdsim.Fate{Refuse: rpctypes.ErrGRPCPermissionDenied})
		if err := e.Obtain(t.Context(), true, never); !errors.Is(err, rpctypes.ErrPermissionDenied) || !e.Sent {
			t.Fatalf("%v, sent: %v", err, e.Sent)
		}
		e.Clean(errUnheard)
		b.empty()
	})
}

// Etcd may say that it has no space after it has carried out a put.
func TestWithoutSpaceAnEntryIsLookedFor(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.next(etcdsim.Fate{Refuse: rpctypes.ErrGRPCNoSpace})
		e := b.alone()
		if err := e.Obtain(t.Context(), false, never); !errors.Is(err, rpctypes.ErrNoSpace) || e.Sent {
			t.Errorf("%v, sent: %v", err, e.Sent)
		}
		b.next(etcdsim.Fate{Refuse: rpctypes.ErrGRPCNoSpace, Carried: true})
		e = b.alone()
		b.obtain(e, false)
		b.holds(e)
	})
}

func TestALeaseThatEtcdDoesNotKnowIsLost(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		e := b.alone()
		proctest.Must(b.Other.Revoke(t.Context(), e.Lease.ID()))
		err := e.Obtain(t.Context(), false, never)
		if err == nil || e.Lease.Lost() != lease.Expired || e.Sent {
			t.Errorf("%v, lost: %v, sent: %v", err, e.Lease.Lost(), e.Sent)
		}
		all := []*Entry{b.alone()}
		proctest.Must(b.Other.Revoke(t.Context(), all[0].Lease.ID()))
		if err := b.EnterAll(t.Context(), all); err == nil || all[0].Lease.Lost() != lease.Expired || all[0].Sent {
			t.Errorf("%v, lost: %v", err, all[0].Lease.Lost())
		}
	})
}

func TestWhatIsLeftUnderTheNameIsRemoved(t *testing.T) {
	for name, with := range map[string]func(b *bed, e *Entry){
		"a key without a lease": func(b *bed, e *Entry) { proctest.Must(b.Other.Put(b.t.Context(), e.Name, "hand")) },
		"an older entry": func(b *bed, e *Entry) {
			proctest.Must(b.Other.Put(b.t.Context(), e.Name, "old", clientv3.WithLease(e.Lease.ID())))
		},
	} {
		for way, m := range modes {
			t.Run(name+"/"+way, func(t *testing.T) {
				inBed(t, func(t *testing.T, b *bed) {
					e := b.entry(100, m.mode)
					with(b, e)
					b.obtain(e, m.try)
					b.holds(e)
				})
			})
		}
	}
}

func TestAnEntryUnderALeaseThatWasGivenUpIsOvertaken(t *testing.T) {
	for _, try := range []bool{false, true} {
		inBed(t, func(t *testing.T, b *bed) {
			old := b.alone()
			b.obtain(old, false)
			old.Lease.Lose(lease.Overdue)
			time.Sleep(time.Millisecond)
			e := b.alone()
			b.obtain(e, try)
			b.holds(e)
			if !b.Logged("left behind") {
				t.Error("the log does not say so")
			}
		})
	}
}

func TestALostAnswerOfARemovalCountsAsDone(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		e := b.alone()
		b.obtain(e, false)
		b.next(etcdsim.Fate{Lose: etcdsim.Answer})
		if gone, err := b.leave(e); !gone || err != nil {
			t.Error(gone, err)
		}
		b.empty()
	})
}

func TestAnEntryThatSomebodyElseRemovedIsNotLeft(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		for _, fates := range [][]etcdsim.Fate{nil, {{Lose: etcdsim.Request}}} {
			e := b.alone()
			b.obtain(e, false)
			if fates != nil { // in doubt: the record says that it was evicted
				r := e.Record()
				r.Evicted = true
				proctest.Must(b.Other.Put(t.Context(), e.Name, string(r.Encode()), clientv3.WithIgnoreLease()))
			}
			b.delete(e.Name)
			b.next(fates...)
			if gone, err := b.leave(e); gone || err != nil {
				t.Errorf("%v: %v, %v", fates, gone, err)
			}
		}
	})
}

func TestTheFateOfAnEntry(t *testing.T) {
	mark := func(b *bed, e *Entry) {
		r := e.Record()
		r.Evicted = true
		proctest.Must(b.Other.Put(b.t.Context(), e.Name, string(r.Encode()), clientv3.WithIgnoreLease()))
		b.delete(e.Name)
	}
	for name, c := range map[string]struct {
		end     func(b *bed, e *Entry)
		loss    lease.Loss
		evicted bool
	}{
		"deleted": {func(b *bed, e *Entry) { b.delete(e.Name) }, 0, false},
		"evicted": {mark, 0, true},
		"moved over the mark": {func(b *bed, e *Entry) {
			r := e.Record()
			r.Evicted = true
			proctest.Must(b.Other.Put(b.t.Context(), e.Name, string(r.Encode()), clientv3.WithIgnoreLease()))
			other := proctest.Must(b.Other.Grant(b.t.Context(), 1000)).ID
			proctest.Must(b.Other.Put(b.t.Context(), e.Name, string(e.Record().Encode()), clientv3.WithLease(other)))
			b.delete(e.Name)
		}, 0, true},
		"lease ended":  {func(b *bed, e *Entry) { proctest.Must(b.Other.Revoke(b.t.Context(), e.Lease.ID())) }, lease.Expired, false},
		"lease lost":   {func(b *bed, e *Entry) { e.Lease.Lose(lease.Overdue) }, lease.Overdue, false},
		"process ends": {func(b *bed, e *Entry) { proctest.Must(b.Other.Revoke(b.t.Context(), e.Lease.ID())); b.End() }, 0, false},
		"compacted":    {func(b *bed, e *Entry) { b.delete(e.Name); b.foreign("x", record.Record{}); b.Sim.Compact() }, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(t *testing.T, b *bed) {
				e := b.alone()
				b.obtain(e, false)
				c.end(b, e)
				if loss, evicted := e.Fate(t.Context()); loss != c.loss || evicted != c.evicted {
					t.Errorf("%v, evicted: %v", loss, evicted)
				}
			})
		})
	}
}

func TestCleanRemovesAnEntryHoweverLongThatTakes(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		e := b.alone()
		b.obtain(e, false)
		b.next(etcdsim.Fate{Lose: etcdsim.Request}, etcdsim.Fate{Lose: etcdsim.Request, Hang: true}, etcdsim.Fate{Lose: etcdsim.Request})
		e.Clean(errUnheard)
		b.empty()
		if !b.Logged("retrying") || !b.Logged("unheard") {
			t.Error("the log does not say so")
		}
		gone := b.alone()
		gone.Lease.Lose(lease.Expired)
		gone.Clean(errUnheard) // there is nothing to do
	})
}

func TestASuccessorTakesThePlaceInOneTransaction(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		e := b.alone()
		b.obtain(e, false)
		next := b.successor(e)
		if done, err := b.replace(e, next); !done || err != nil {
			t.Fatal(done, err)
		}
		b.holds(next)
	})
}

func (b *bed) successor(e *Entry) *Entry {
	s := b.under(e.Lease, e.Key, record.Exclusive)
	s.Name += "-1"
	return s
}

func (b *bed) replace(e, s *Entry) (bool, error) {
	w := b.Etcd.Detached(b.t.Context())
	defer w.Stop()
	return e.Replace(w, s)
}

func TestALostAnswerOfAReplacementIsLookedUp(t *testing.T) {
	for name, fates := range map[string][]etcdsim.Fate{
		"carried out":     {{Lose: etcdsim.Answer}},
		"not carried out": {{Lose: etcdsim.Request}},
		"no space":        {{Refuse: rpctypes.ErrGRPCNoSpace, Carried: true}},
	} {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(t *testing.T, b *bed) {
				e := b.alone()
				b.obtain(e, false)
				next := b.successor(e)
				b.next(fates...)
				if done, err := b.replace(e, next); !done || err != nil {
					t.Fatal(done, err)
				}
				b.obtain(next, false)
				b.holds(next)
			})
		})
	}
}

func TestAReplacementThatStaysInDoubtIsCleanedUp(t *testing.T) {
	for _, hang := range []etcdsim.Fate{
		{Lose: etcdsim.Request, Hang: true}, {Lose: etcdsim.Request, Hang: true, Late: time.Minute / 2}, {Lose: etcdsim.Answer, Hang: true},
	} {
		inBed(t, func(t *testing.T, b *bed) {
			e := b.alone()
			b.obtain(e, false)
			next := b.successor(e)
			b.next(slices.Repeat([]etcdsim.Fate{hang}, 20)...)
			if done, err := b.replace(e, next); done || err == nil || e.Successor != next {
				t.Fatal(done, err)
			}
			b.next()
			e.Clean(errUnheard)
			b.empty()
			time.Sleep(2 * time.Minute)
			b.empty()
		})
	}
}

func TestAnEntryThatIsGoneIsNotReplaced(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		e := b.alone()
		b.obtain(e, false)
		b.delete(e.Name)
		b.next(etcdsim.Fate{Lose: etcdsim.Request})
		if done, err := b.replace(e, b.successor(e)); done || err != nil {
			t.Fatal(done, err)
		}
		b.empty()
		if gone, err := b.leave(e); !gone || err != nil { // a try of Replace may have removed it
			t.Error(gone, err)
		}
	})
}

var others = []keyspace.Key{keyspace.MustParse("lock"), keyspace.MustParse("other"), keyspace.MustParse("third")}

func (b *bed) three() (all []*Entry) {
	l := proctest.Must(b.Leases.Use(b.t.Context(), 100))
	for i, k := range others {
		var reads []string
		if i == len(others)-1 {
			reads = []string{"value"}
		}
		all = append(all, b.under(l, k, record.Exclusive, reads...))
	}
	return all
}

func TestSeveralQueuesAreJoinedAtOnceOrNotAtAll(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		proctest.Must(b.Other.Put(t.Context(), "value", "v"))
		all := b.three()
		if err := b.EnterAll(t.Context(), all); err != nil || b.write != 1 {
			t.Fatal(err, b.write)
		}
		for _, e := range all {
			if !e.First() || !e.Sent {
				t.Errorf("%v is not held", e.Key)
			}
		}
		if r := all[2].Read; r == nil || string(r.KVs[0].Value) != "v" || all[0].Read != nil {
			t.Errorf("read %+v", r)
		}
		if gone, err := b.leave(all[1]); !gone || err != nil {
			t.Error(gone, err)
		}
		again := b.three()
		if err := b.EnterAll(t.Context(), again); err != ErrTaken {
			t.Error(err)
		}
		for _, e := range again {
			if e.Sent {
				t.Errorf("%v counts as sent", e.Key)
			}
		}
		if n := proctest.Must(b.Other.Get(t.Context(), "/elock/", clientv3.WithPrefix(), clientv3.WithCountOnly())).Count; n != 2 {
			t.Errorf("%d keys", n)
		}
	})
}

func TestALostAnswerOfSeveralLeavesThemInDoubt(t *testing.T) {
	for name, fate := range map[string]etcdsim.Fate{
		"carried out": {Lose: etcdsim.Answer},
		"late":        {Lose: etcdsim.Request, Hang: true, Late: 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(t *testing.T, b *bed) {
				all := b.three()
				b.next(fate)
				if err := b.EnterAll(t.Context(), all); err == nil {
					t.Fatal("no error")
				}
				for _, e := range all {
					if !e.Sent {
						t.Error("it counts as not sent")
					}
					e.Clean(errUnheard)
				}
				time.Sleep(2 * time.Minute)
				b.empty()
				if b.LateWrites() != 0 {
					t.Error("still looked for")
				}
			})
		})
	}
}

// Entries of two leases go, of which etcd forgets one.
func TestHowSeveralEntriesWentIsFoundAtOnce(t *testing.T) {
	for _, past := range []bool{true, false} {
		t.Run(fmt.Sprint("past ", past), func(t *testing.T) {
			inBed(t, func(t *testing.T, b *bed) {
				lives, gone := proctest.Must(b.Leases.Use(t.Context(), 100)), proctest.Must(b.Leases.Use(t.Context(), 200))
				var entries []*Entry
				for i, l := range []*lease.Lease{lives, gone, lives, gone} {
					e := b.under(l, keyspace.MustParse(fmt.Sprint("lock", i)), record.Exclusive)
					b.obtain(e, false)
					entries = append(entries, e)
				}
				evicted := entries[0].Record()
				evicted.Evicted = true
				proctest.Must(b.Other.Put(t.Context(), entries[0].Name, string(evicted.Encode()), clientv3.WithIgnoreLease()))
				b.delete(entries[0].Name)
				b.delete(entries[2].Name)
				proctest.Must(b.Other.Revoke(t.Context(), gone.ID()))
				var mu sync.Mutex
				told := make(map[int]bool)
				b.Fates(t.Context(), entries, past, func(i int, evicted bool) {
					mu.Lock()
					defer mu.Unlock()
					if _, twice := told[i]; twice {
						t.Errorf("told of %d twice", i)
					}
					told[i] = evicted
				})
				if want := map[int]bool{0: past, 2: false}; !maps.Equal(told, want) {
					t.Errorf("told %v, want %v", told, want)
				}
				if gone.Lost() != lease.Expired || lives.Lost() != 0 {
					t.Errorf("the lease that is gone is %v, the other %v", gone.Lost(), lives.Lost())
				}
			})
		})
	}
}
