package place

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/proctest"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/keyspace"
)

const dir = "/elock/lock/"

// A bed is the queue of one lock in an etcd in memory, in virtual time.
type bed struct {
	*proctest.Process
	t          *testing.T
	cfg        Config
	reads      atomic.Int64
	ranges     atomic.Int64 // those of them that read more than single keys
	deaf       atomic.Bool  // watches are refused
	refuse     atomic.Bool  // reads are
	leaderless atomic.Bool  // no read is answered, and etcd says so
	slow       atomic.Bool  // reads take a moment
	lost       atomic.Int64 // so many reads have no answer
}

func inBed(t *testing.T, puts bool, f func(t *testing.T, b *bed)) {
	t.Helper()
	b := new(bed)
	proctest.Run(t, b.plan, func(t *testing.T, p *proctest.Process) {
		b.t, b.Process, b.cfg = t, p, Config{Etcd: p.Etcd, Batch: p.Batch, Feeds: p.Feeds, Puts: puts, Base: p.Base, Spawn: p.Spawn}
		f(t, b)
	})
}

func (b *bed) plan(call etcdsim.Call, _ *rand.Rand) (fate etcdsim.Fate) {
	switch r := call.Request.(type) {
	case *pb.TxnRequest:
		b.reads.Add(1)
		if slices.ContainsFunc(r.Success, func(op *pb.RequestOp) bool { return op.GetRequestRange().GetRangeEnd() != nil }) {
			b.ranges.Add(1)
		}
		if b.slow.Load() {
			fate.Send = time.Millisecond
		}
		if b.lost.Add(-1) >= 0 {
			fate.Lose, fate.Hang = etcdsim.Answer, true
		}
		if b.refuse.Load() {
			fate.Refuse = rpctypes.ErrGRPCPermissionDenied
		}
		if b.leaderless.Load() {
			fate.Refuse = rpctypes.ErrGRPCNoLeader
		}
	case *pb.WatchRequest:
		if r.GetCreateRequest() != nil && b.deaf.Load() {
			fate.Refuse = rpctypes.ErrGRPCNoLeader
		}
	}
	return fate
}

// lease grants a lease.
func (b *bed) lease() clientv3.LeaseID { return proctest.Must(b.Other.Grant(b.t.Context(), 1000)).ID }

// put puts an entry of that mode, foreign if there is none, under a lease, and returns its place.
func (b *bed) put(name, mode string, l clientv3.LeaseID) *Place {
	value := "foreign"
	if mode != "" {
		value = string(record.Record{Version: record.Version, Mode: mode}.Encode())
	}
	resp := proctest.Must(b.Other.Put(b.t.Context(), dir+name, value, clientv3.WithLease(l)))
	p := New(&b.cfg)
	p.Dir, p.Name, p.Rev, p.LeaseID, p.Shared = dir, dir+name, resp.Header.Revision, int64(l), mode == record.Shared
	return &p
}

// slots puts an entry that takes some of n slots, and returns its place.
func (b *bed) slots(name string, n, weight int, l clientv3.LeaseID) *Place {
	r := record.Record{Version: record.Version, Mode: record.Slots, Slots: n, Weight: weight}
	resp := proctest.Must(b.Other.Put(b.t.Context(), dir+name, string(r.Encode()), clientv3.WithLease(l)))
	p := New(&b.cfg)
	p.Dir, p.Name, p.Rev, p.LeaseID, p.Claim = dir, dir+name, resp.Header.Revision, int64(l), r.Claim()
	return &p
}

// line puts n entries.
func (b *bed) line(n int, mode string) (all []*Place) {
	l := b.lease()
	for i := range n {
		all = append(all, b.put(fmt.Sprintf("%02d", i), mode, l))
	}
	return all
}

func (b *bed) delete(p *Place) { proctest.Must(b.Other.Delete(b.t.Context(), p.Name)) }

// at wants p to have that place after a look: n entries ahead, 0 if not known, of which nearest is the nearest.
func (b *bed) at(p *Place, n int, nearest *Place) {
	b.t.Helper()
	if err := p.Look(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	got := p.Nearest()
	if p.Ahead() != n || p.First() != (nearest == nil) || nearest != nil && string(got.GetKey()) != nearest.Name {
		b.t.Fatalf("%s has %d ahead, the nearest %s, first: %v", p.Name, p.Ahead(), got.GetKey(), p.First())
	}
}

func TestAPlaceIsWhatTheOrderOfEntriesSays(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		all := b.line(Nearby+3, record.Exclusive)
		b.at(all[0], 0, nil)
		b.at(all[1], 1, all[0])
		if !all[1].Only() {
			t.Error("one is ahead, and not the only one")
		}
		b.at(all[Nearby], Nearby, all[Nearby-1])
		b.at(all[Nearby+2], 0, all[Nearby+1])
		b.delete(all[0])
		b.at(all[1], 0, nil)
	})
}

// farBack returns one that is far back, the nearest ahead of it and the next one. Something else has changed in etcd since its place was
// read, so that a watch that begins now may have missed what became of the nearest.
func (b *bed) farBack() (p, nearest, next *Place) {
	b.t.Helper()
	all := b.line(Nearby+3, record.Exclusive)
	p, nearest, next = all[Nearby+2], all[Nearby+1], all[Nearby]
	b.at(p, 0, nearest)
	proctest.Must(b.Other.Put(b.t.Context(), "/other", ""))
	return p, nearest, next
}

func TestOneFarBackReadsTheNearestAloneAsItsWatchBegins(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		p, nearest, next := b.farBack()
		reads, ranges := b.reads.Load(), b.ranges.Load()
		done := make(chan error, 1)
		go func() { done <- p.Await(t.Context()) }()
		time.Sleep(time.Minute)
		if read, ranged := b.reads.Load()-reads, b.ranges.Load()-ranges; read == 0 || ranged > 0 {
			t.Errorf("%d reads, %d of them of the queue", read, ranged)
		}
		b.delete(nearest)
		if err := <-done; err != nil || string(p.Nearest().Key) != next.Name {
			t.Errorf("%v, behind %s", err, p.Nearest().Key)
		}
	})
}

func TestOneFarBackHearsWhatBecameOfTheNearestBeforeItsWatch(t *testing.T) {
	plain := string(record.Record{Version: record.Version, Mode: record.Exclusive}.Encode())
	shared := string(record.Record{Version: record.Version, Mode: record.Shared}.Encode())
	for name, test := range map[string]struct {
		mode   string
		become func(b *bed, nearest *Place)
	}{
		"gone": {record.Exclusive, func(b *bed, nearest *Place) { b.delete(nearest) }},
		"another of its name": {record.Exclusive, func(b *bed, nearest *Place) {
			b.delete(nearest)
			proctest.Must(b.Other.Put(b.t.Context(), nearest.Name, plain, clientv3.WithLease(clientv3.LeaseID(nearest.LeaseID))))
		}},
		"without a lease": {record.Exclusive, func(b *bed, nearest *Place) {
			proctest.Must(b.Other.Put(b.t.Context(), nearest.Name, plain))
		}},
		"shares the lock": {record.Shared, func(b *bed, nearest *Place) {
			proctest.Must(b.Other.Put(b.t.Context(), nearest.Name, shared, clientv3.WithIgnoreLease()))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inBed(t, false, func(t *testing.T, b *bed) {
				all := b.line(Nearby+2, record.Exclusive)
				nearest := all[Nearby+1]
				p := b.put("last", test.mode, b.lease())
				if err := p.Look(t.Context()); err != nil || string(p.Nearest().Key) != nearest.Name {
					t.Fatal(err)
				}
				test.become(b, nearest)
				done := make(chan error, 1)
				go func() { done <- p.Await(t.Context()) }()
				synctest.Wait()
				if err := <-done; err != nil || string(p.Nearest().Key) != all[Nearby].Name {
					t.Errorf("%v, behind %s", err, p.Nearest().Key)
				}
			})
		})
	}
}

func TestOneFarBackReadsAgainWhatHasNoAnswer(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		p, nearest, _ := b.farBack()
		b.lost.Store(1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- p.Await(ctx) }()
		time.Sleep(10 * time.Second)
		b.delete(nearest)
		deleted := time.Now()
		if err := <-done; err != nil || time.Since(deleted) > time.Second {
			t.Errorf("%v, after %v", err, time.Since(deleted))
		}
	})
}

// A watch begins between the two reads of a look, of which the second has no answer.
func TestOneOfWhomNobodyAheadIsKnownLooks(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		b.put("alone", record.Exclusive, b.lease())
		b.line(nearbyShared+3, record.Shared)
		p := b.put("me", record.Shared, b.lease())
		if err := p.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		proctest.Must(b.Other.Put(t.Context(), "/other", ""))
		v := p.view()
		defer v.close()
		time.Sleep(time.Second) // the watch is in place
		p.Note(p.Rev, nil, -1)
		if now, _ := p.consult(v); now != uncertain {
			t.Errorf("the outlook is %d", now)
		}
	})
}

func TestAWaitFarBackThatHasEndedIsNoSilenceOfEtcd(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		p, _, _ := b.farBack()
		v := p.view()
		defer v.close()
		time.Sleep(time.Second) // the watch is in place
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		reads := b.reads.Load()
		if err := p.Await(ctx); !errors.As(err, new(WaitEnd)) || b.reads.Load() != reads {
			t.Errorf("got %v after %d reads", err, b.reads.Load()-reads)
		}
	})
}

func TestOneFarBackHearsThatItIsGoneBeforeItsWatch(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		p, _, _ := b.farBack()
		b.delete(p)
		began := time.Now()
		if err := p.Await(t.Context()); !errors.Is(err, ErrDisplaced) || time.Since(began) > time.Second {
			t.Errorf("%v, after %v", err, time.Since(began))
		}
	})
}

func TestKeysWithoutALeaseAreNotAhead(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		b.put("left behind", "", 0)
		p := b.line(1, record.Exclusive)[0]
		b.at(p, 0, nil)
	})
}

// Else each of many who share reads the queue again.
func TestOneThatSharesKnowsBehindManyThatShareWhoIsAhead(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		alone := b.put("alone", record.Exclusive, b.lease())
		all := b.line(nearbyShared-1, record.Shared)
		p, ranges := all[len(all)-1], b.ranges.Load()
		b.at(p, 1, alone)
		if n := b.ranges.Load() - ranges; n > 1 {
			t.Errorf("%d reads", n)
		}
	})
}

func TestOneThatSharesFollowsTheNearestOnlyBehindManyWhoDoNot(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		all := b.line(Nearby+2, record.Exclusive)
		p := b.put("last", record.Shared, b.lease())
		w := b.wait(p)
		time.Sleep(time.Second) // the watch is in place
		reads := b.reads.Load()
		for _, other := range all[:Nearby+1] {
			b.delete(other)
		}
		w.goesOn()
		if n := b.reads.Load() - reads; n > 0 || !p.far() {
			t.Errorf("%d reads; follows all: %v", n, !p.far())
		}
		b.delete(all[Nearby+1])
		if w.returns(nil); !p.First() {
			t.Error("it is not the first")
		}
	})
}

func TestThoseWhoShareAreNotAheadOfEachOther(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		alone := b.put("alone", record.Exclusive, b.lease())
		all := b.line(nearbyShared+3, record.Shared)
		writer := b.put("writer", "", b.lease())
		b.at(all[0], 1, alone)
		b.at(all[nearbyShared+2], 1, alone) // though all that are near share
		b.delete(alone)
		b.at(all[nearbyShared+2], 0, nil)
		b.at(writer, 0, all[nearbyShared+2])
	})
}

func TestAnEntryThatIsGoneHasNoPlace(t *testing.T) {
	for name, harm := range map[string]func(b *bed, p *Place){
		"deleted":                func(b *bed, p *Place) { b.delete(p) },
		"replaced":               func(b *bed, p *Place) { b.delete(p); b.put("00", record.Exclusive, b.lease()) },
		"written over by hand":   func(b *bed, p *Place) { proctest.Must(b.Other.Put(b.t.Context(), p.Name, "hand")) },
		"deleted while it waits": nil,
	} {
		t.Run(name, func(t *testing.T) {
			inBed(t, false, func(t *testing.T, b *bed) {
				all := b.line(2, record.Exclusive)
				if harm != nil {
					harm(b, all[0])
					if err := all[0].Look(t.Context()); !errors.Is(err, ErrDisplaced) {
						t.Errorf("got %v", err)
					}
					return
				}
				w := b.wait(all[1])
				time.Sleep(time.Second / 2) // the watch is in place
				b.delete(all[1])
				if d := w.returns(ErrDisplaced); d > time.Second {
					t.Errorf("after %v", d)
				}
			})
		})
	}
}

// A wait is an Await on its way.
type wait struct {
	b      *bed
	p      *Place
	cancel context.CancelFunc
	done   chan error
	began  time.Time
}

// wait looks at the place of p, and calls Await.
func (b *bed) wait(p *Place) *wait {
	b.t.Helper()
	if err := p.Look(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Hour)
	w := &wait{b, p, cancel, make(chan error, 1), time.Now()}
	go func() { w.done <- p.Await(ctx) }()
	synctest.Wait()
	return w
}

func (w *wait) returns(want error) (after time.Duration) {
	w.b.t.Helper()
	err := <-w.done
	w.cancel()
	if !errors.Is(err, want) || (err == nil) != (want == nil) {
		w.b.t.Fatalf("Await returned %v, want %v", err, want)
	}
	return time.Since(w.began)
}

func (w *wait) goesOn() {
	w.b.t.Helper()
	synctest.Wait()
	select {
	case err := <-w.done:
		w.b.t.Fatalf("Await returned %v", err)
	default:
	}
}

func TestAWaiterHearsThatTheNearestIsGoneWithoutReading(t *testing.T) {
	for _, puts := range []bool{false, true} {
		inBed(t, puts, func(t *testing.T, b *bed) {
			all := b.line(3, record.Exclusive)
			w := b.wait(all[2])
			time.Sleep(time.Second) // the watch is in place
			reads := b.reads.Load()
			b.delete(all[0])
			w.goesOn() // the nearest is there
			b.delete(all[1])
			w.returns(nil)
			if !all[2].First() || b.reads.Load() != reads {
				t.Errorf("first: %v, after %d reads", all[2].First(), b.reads.Load()-reads)
			}
		})
	}
}

func TestAWaiterHearsWhoIsTheNearestThen(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		all := b.line(3, record.Exclusive)
		w := b.wait(all[2])
		time.Sleep(time.Second / 2) // the watch is in place
		b.delete(all[1])
		w.returns(nil)
		if p := all[2]; p.First() || p.Ahead() != 1 || string(p.Nearest().GetKey()) != all[0].Name {
			t.Errorf("first: %v, %d ahead", p.First(), p.Ahead())
		}
	})
}

func TestOneFarBackFollowsTheNearestOnly(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		all := b.line(Nearby+2, record.Exclusive)
		w := b.wait(all[Nearby+1])
		reads := b.reads.Load()
		b.delete(all[3])
		w.goesOn()
		if b.reads.Load() != reads {
			t.Error("a release far ahead has it read")
		}
		if b.Feeds.Has(dir) {
			t.Error("a release far ahead wakes it")
		}
		b.delete(all[Nearby])
		w.returns(nil)
		if got := string(all[Nearby+1].Nearest().Key); got != all[Nearby-1].Name {
			t.Errorf("the nearest is %s", got)
		}
	})
}

func TestOneFarBackReadsAgainWhileNoWatchWorks(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		b.deaf.Store(true)
		all := b.line(Nearby+3, record.Exclusive)
		last := all[Nearby+2]
		w := b.wait(last)
		for _, p := range all[:Nearby+2] {
			b.delete(p)
		}
		if d := w.returns(nil); !last.First() || d > 2*maxPause {
			t.Errorf("first: %v, after %v", last.First(), d)
		}
	})
}

// Each holds the lock for a moment when it is the first, or gives up before, at random.
func TestEachOfALongQueueIsTheFirstInItsTurn(t *testing.T) {
	for seed := range uint64(50) {
		inBed(t, false, func(t *testing.T, b *bed) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			all := b.line(5*Nearby, record.Exclusive)
			next := make(chan int, len(all)) // as they come to be the first
			var waits sync.WaitGroup
			holders := 0
			for i, p := range all {
				if i > 0 && rnd.IntN(4) == 0 {
					after := time.Duration(rnd.IntN(2000)) * time.Millisecond
					waits.Go(func() {
						time.Sleep(after)
						b.delete(p)
					})
					continue
				}
				holders++
				waits.Go(func() {
					err := p.Look(t.Context())
					for err == nil && !p.First() {
						err = p.Await(t.Context())
					}
					if err != nil {
						t.Error(err)
					}
					next <- i
				})
			}
			last, began := -1, time.Now()
			for range holders {
				i := <-next
				if i < last {
					t.Errorf("seed %d: %d is the first after %d", seed, i, last)
				}
				if resp := proctest.Must(b.Other.Get(t.Context(), dir, clientv3.WithFirstCreate()...)); string(resp.Kvs[0].Key) != all[i].Name {
					t.Errorf("seed %d: %d believes that it is the first, and %s is", seed, i, resp.Kvs[0].Key)
				}
				if last = i; len(next) > 0 {
					t.Errorf("seed %d: two are the first", seed)
				}
				time.Sleep(time.Duration(rnd.IntN(50)) * time.Millisecond)
				b.delete(all[i])
			}
			waits.Wait()
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("seed %d: it took %v", seed, took)
			}
		})
	}
}

// Its entry is deleted while it follows only the keys ahead: then the one behind it is the first, and not it.
func TestOneFarBackWhoseEntryIsGoneIsNotTheFirst(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		all := b.line(Nearby+3, record.Exclusive)
		last := all[Nearby+2]
		behind := b.put("behind", record.Exclusive, b.lease())
		w := b.wait(last)
		time.Sleep(time.Second / 2) // the watches are in place
		for _, p := range all[:Nearby+1] {
			b.delete(p)
			synctest.Wait()
		}
		time.Sleep(10 * time.Second) // the nearest holds the lock
		b.delete(last)               // evicted, for example
		time.Sleep(10 * time.Second)
		b.delete(all[Nearby+1])
		b.at(behind, 0, nil)
		if err := <-w.done; !errors.Is(err, ErrDisplaced) {
			t.Errorf("Await returned %v; first: %v, and so is the one behind it", err, last.First())
		}
		w.cancel()
	})
}

// Who is followed gives up, only readers are near, and the wait ends between the two reads of the look.
func TestAWaitMayEndWithinALook(t *testing.T) {
	b := new(bed)
	var cutting atomic.Bool
	var cut func()
	n := 0 // of its reads; the second one gets no answer
	plan := func(call etcdsim.Call, _ *rand.Rand) (fate etcdsim.Fate) {
		if (call.Method == "Txn" || call.Method == "Range") && cutting.Load() {
			if n++; n > 1 {
				fate.Lose, fate.Hang = etcdsim.Request, true
				time.AfterFunc(time.Second/10, cut)
			}
		}
		return fate
	}
	proctest.Run(t, plan, func(t *testing.T, p *proctest.Process) {
		b.t, b.Process, b.cfg = t, p, Config{Etcd: p.Etcd, Batch: p.Batch, Feeds: p.Feeds}
		b.line(nearbyShared+3, record.Shared)
		l := b.lease()
		b.put("x1", record.Exclusive, l)
		b.put("x2", record.Exclusive, l)
		me := b.put("me", record.Shared, b.lease())
		w := b.wait(me)
		cut = w.cancel
		time.Sleep(time.Second / 2) // the watches are in place
		cutting.Store(true)
		proctest.Must(b.Other.Revoke(t.Context(), l))
		if err := <-w.done; !errors.Is(err, context.Canceled) {
			t.Errorf("Await returned %v", err)
		}
	})
}

// What is deleted between the look and the watch is not seen by the watch.
func TestWhatAWatchMayHaveMissedIsReadAgain(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		all := b.line(3, record.Exclusive)
		p := all[2]
		if err := p.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.delete(all[1])
		b.delete(all[0])
		began := time.Now()
		if err := p.Await(t.Context()); err != nil || !p.First() || time.Since(began) > time.Second {
			t.Errorf("%v, first: %v, after %v", err, p.First(), time.Since(began))
		}
	})
}

func TestAWaiterWithoutAWatchReadsWithPausesThatGrow(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		b.deaf.Store(true)
		all := b.line(2, record.Exclusive)
		w := b.wait(all[1])
		before := b.reads.Load()
		time.Sleep(time.Minute)
		if n := b.reads.Load() - before; n < 50 || n > 70 {
			t.Errorf("%d reads in a minute", n)
		}
		b.delete(all[0])
		if d := w.returns(nil); d > time.Minute+2*maxPause {
			t.Errorf("told after %v", d-time.Minute)
		}
	})
}

func TestManyWhoLookAtOnceLookTogether(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		b.slow.Store(true)
		keys := keyspace.MustNew[int]("many")
		all := b.line(300, record.Exclusive)
		var looks sync.WaitGroup
		before := b.reads.Load()
		for i, p := range all {
			p.Key = keys.Key(i)
			looks.Go(func() {
				if err := p.Look(t.Context()); err != nil {
					t.Error(err)
				}
				if i > 0 && string(p.Nearest().GetKey()) != all[i-1].Name || p.First() != (i == 0) {
					t.Errorf("%s is behind %s; first: %v", p.Name, p.Nearest().GetKey(), p.First())
				}
			})
		}
		looks.Wait()
		if n := b.reads.Load() - before; n > 20 {
			t.Errorf("%d reads for 300 looks", n)
		}
	})
}

// The stream answers soon after, and the pause that was begun before is over.
func TestWhoWaitsDoesNotLookOnceTheStreamHasAnswered(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		all := b.line(2, record.Exclusive)
		w := b.wait(all[1])
		time.Sleep(time.Second)
		before := b.reads.Load()
		time.Sleep(2 * unprovenPause)
		if n := b.reads.Load() - before; n > 0 {
			t.Errorf("%d reads", n)
		}
		w.cancel()
		<-w.done
	})
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		all := b.line(2, record.Exclusive)
		w := b.wait(all[1])
		w.cancel()
		err := <-w.done
		if _, ok := errors.AsType[WaitEnd](err); !ok || !errors.Is(err, context.Canceled) || err.Error() == "" || time.Since(w.began) > time.Second {
			t.Errorf("got %v after %v", err, time.Since(w.began))
		}
	})
}

// Else a caller would take the silence of etcd for a lock that is held.
func TestAWaitThatEndsAsEtcdIsSilentSaysSo(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		all := b.line(2, record.Exclusive)
		b.deaf.Store(true)
		if err := all[1].Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.Mine.Partition()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		err := all[1].Await(ctx)
		if _, ok := errors.AsType[WaitEnd](err); ok || err == nil {
			t.Errorf("got %v", err)
		}
		b.Mine.Heal()
	})
}

// A request that has been on its way for a moment is not the silence of etcd, whenever the wait ends.
func TestAWaitThatEndsWhileItLooksIsNoSilenceOfEtcd(t *testing.T) {
	for name, far := range map[string]bool{"near": false, "far back": true} {
		t.Run(name, func(t *testing.T) {
			inBed(t, false, func(t *testing.T, b *bed) {
				var p *Place
				if far {
					p, _, _ = b.farBack()
				} else {
					b.deaf.Store(true)
					p = b.line(2, record.Exclusive)[1]
					if err := p.Look(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				reads := b.reads.Load()
				b.lost.Store(1 << 20)
				ctx, cancel := context.WithTimeout(t.Context(), silence/2)
				defer cancel()
				err := p.Await(ctx)
				if _, ok := errors.AsType[WaitEnd](err); !ok || !errors.Is(err, context.DeadlineExceeded) || b.reads.Load() == reads {
					t.Errorf("got %v after %d reads", err, b.reads.Load()-reads)
				}
			})
		})
	}
}

func TestAWaitThatEndsSoonAfterEtcdHasFailedSaysSo(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		p, _, _ := b.farBack()
		b.leaderless.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), silence/2)
		defer cancel()
		err := p.Await(ctx)
		if _, ok := errors.AsType[WaitEnd](err); ok || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAWaitFarBackThatEndsAsEtcdIsSilentSaysSo(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		p, _, _ := b.farBack()
		b.lost.Store(1 << 20)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		err := p.Await(ctx)
		if _, ok := errors.AsType[WaitEnd](err); ok || err == nil {
			t.Errorf("got %v", err)
		}
	})
}

func TestAWaitEndsWithARefusal(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		b.deaf.Store(true)
		all := b.line(2, record.Exclusive)
		w := b.wait(all[1])
		b.refuse.Store(true)
		w.returns(rpctypes.ErrPermissionDenied)
	})
}

func TestContendedIsWhereOneMayWaitToHoldAlone(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		all := b.line(2, record.Shared)
		b.put("left behind", "", 0)
		want := func(p *Place, want bool) {
			t.Helper()
			if got := p.Contended(t.Context()); got != want {
				t.Errorf("%s is contended: %v", p.Name, got)
			}
		}
		want(all[0], false)
		want(all[1], false)
		b.delete(all[1])
		want(all[1], true)
		want(all[0], false)
		b.put("alone", record.Exclusive, b.lease())
		want(all[0], true)
		b.refuse.Store(true)
		want(all[0], true)
	})
}

func TestAPlaceIsNoted(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		all := b.line(2, record.Exclusive)
		kv := proctest.Must(b.Other.Get(t.Context(), all[0].Name)).Kvs[0]
		p := all[1]
		if p.Behind(7, kv, 5); p.First() || p.Ahead() != 5 || !p.Only() || p.Nearest() != kv {
			t.Errorf("behind one of five: %+v", p)
		}
		if p.ForgetAhead(); p.Ahead() != 0 || p.First() {
			t.Errorf("behind one of unknown number: %+v", p)
		}
		if p.Lead(8); !p.First() {
			t.Errorf("in the lead: %+v", p)
		}
		if p.Rev = 0; p.First() {
			t.Error("first without an entry")
		}
	})
}
