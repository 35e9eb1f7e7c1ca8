package retain

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/place"
	"github.com/phpgao/elock/internal/proctest"
	"github.com/phpgao/elock/internal/queue"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/keyspace"
)

const (
	period = 10 * time.Second
	trust  = 100 * time.Millisecond
)

// A bed is an entry that a process holds, and a Set, on an etcd in memory, in virtual time.
type bed struct {
	*proctest.Process
	*Set
	t     *testing.T
	e     *queue.Entry
	drain context.CancelFunc

	deaf  atomic.Bool                  // watches are refused
	write atomic.Pointer[etcdsim.Fate] // of the process's next write
	held  atomic.Bool                  // somebody here holds the lock
	given atomic.Int32                 // how often recall gave the entry up
	asked atomic.Int32                 // how often recall was called
}

func inBed(t *testing.T, f func(t *testing.T, b *bed)) {
	t.Helper()
	b := new(bed)
	proctest.Run(t, b.plan, func(t *testing.T, p *proctest.Process) {
		b.t, b.Process = t, p
		queues := queue.NewSet(queue.Config{
			Config: place.Config{Etcd: p.Etcd, Batch: p.Batch, Feeds: p.Feeds, Puts: true, Base: p.Base, Spawn: p.Spawn},
			GaveUp: p.Leases.GaveUp, Prefix: "elock", Owner: "test", Log: p.Log,
		})
		var drain context.Context
		drain, b.drain = context.WithCancel(p.Base)
		b.Set = New(Config{Batch: p.Batch, For: period, Trust: trust, Drain: drain})
		e := queues.Entry(keyspace.MustParse("lock"), proctest.Must(p.Leases.Use(t.Context(), 100)), record.Record{Owner: "test", Mode: record.Exclusive}, nil)
		b.e = &e
		if err := e.Obtain(t.Context(), false, nil); err != nil {
			t.Fatal(err)
		}
		f(t, b)
	})
}

func (b *bed) plan(call etcdsim.Call, _ *rand.Rand) (fate etcdsim.Fate) {
	switch r := call.Request.(type) {
	case *pb.TxnRequest:
		if len(r.Success) > 1 && b.t != nil {
			if f := b.write.Swap(nil); f != nil {
				return *f
			}
		}
	case *pb.WatchRequest:
		if r.GetCreateRequest() != nil && b.deaf.Load() {
			fate.Refuse = rpctypes.ErrGRPCNoLeader
		}
	}
	return fate
}

// begin retains the entry. done is closed when its Run has returned.
func (b *bed) begin() (r *Retention, done chan struct{}) {
	b.t.Helper()
	if r = b.Begin(b.t.Context(), b.e); r == nil {
		b.t.Fatal("the entry is not retained")
	}
	done = make(chan struct{})
	b.Spawn(func() {
		defer close(done)
		r.Run(b.recall)
	})
	r.Released()
	b.Settle()
	return r, done
}

// Settle lets what is under way come to rest.
func (b *bed) Settle() {
	time.Sleep(10 * time.Millisecond)
	synctest.Wait()
}

// recall is what a process does: it gives the entry up unless its lock is held.
func (b *bed) recall() bool {
	b.asked.Add(1)
	if b.held.Load() {
		return false
	}
	b.given.Add(1)
	return true
}

// record is what etcd has of the entry.
func (b *bed) record() (r record.Record) {
	b.t.Helper()
	kvs := proctest.Must(b.Other.Get(b.t.Context(), b.e.Name)).Kvs
	if len(kvs) == 0 {
		b.t.Fatal("the entry is gone")
	}
	r, _ = record.Parse(kvs[0].Value)
	return r
}

// queues has another process queue.
func (b *bed) queues() {
	l := proctest.Must(b.Other.Grant(b.t.Context(), 1000))
	proctest.Must(b.Other.Put(b.t.Context(), b.e.Dir+"other", "", clientv3.WithLease(l.ID)))
}

// mark has an operator begin to evict the entry.
func (b *bed) mark() {
	r := b.record()
	r.Evicted = true
	proctest.Must(b.Other.Put(b.t.Context(), b.e.Name, string(r.Encode()), clientv3.WithIgnoreLease()))
}

func (b *bed) wantRunning(done chan struct{}) {
	b.t.Helper()
	select {
	case <-done:
		b.t.Fatal("Run has returned")
	default:
	}
}

// wantEnd wants Run to return, having given the entry up so often.
func (b *bed) wantEnd(done chan struct{}, given int32) {
	b.t.Helper()
	b.Settle()
	select {
	case <-done:
	default:
		b.t.Fatal("Run goes on")
	}
	if n := b.given.Load(); n != given {
		b.t.Errorf("given up %d times, want %d", n, given)
	}
}

func TestARetainedEntrySaysSoAndIsGivenUpWhenAnotherQueues(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		r, done := b.begin()
		if !b.record().Retained || !r.Usable() || r.Wanted() || b.n.Load() != 1 {
			t.Errorf("%+v, usable: %v, wanted: %v", b.record(), r.Usable(), r.Wanted())
		}
		b.wantRunning(done)
		b.queues()
		b.wantEnd(done, 1)
		if !r.Wanted() || r.Usable() {
			t.Error("it may be used again")
		}
		r.Stop()
		r.Stop()
		if b.n.Load() != 0 {
			t.Errorf("%d are retained", b.n.Load())
		}
	})
}

func TestAnEntryThatOthersWaitForIsNotRetained(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.queues()
		if b.Begin(t.Context(), b.e) != nil || b.n.Load() != 0 {
			t.Error("it is retained")
		}
	})
}

func TestNoMoreEntriesAreRetainedThanTheLimit(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.n.Store(maxEntries)
		if b.Begin(t.Context(), b.e) != nil || b.n.Load() != maxEntries {
			t.Error("it is retained")
		}
	})
}

func TestAnEntryIsGivenUpAfterAWhile(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		r, done := b.begin()
		time.Sleep(period * 8 / 10)
		b.held.Store(true) // an acquire takes it
		time.Sleep(2 * period)
		b.wantRunning(done)
		b.held.Store(false)
		r.Released()
		time.Sleep(period * 8 / 10)
		b.wantRunning(done)
		time.Sleep(period * 4 / 10)
		b.wantEnd(done, 1)
		if r.Wanted() {
			t.Error("nobody wants it")
		}
	})
}

func TestAnEntryIsGivenUpWhenTheProcessEnds(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		_, done := b.begin()
		b.drain()
		b.wantEnd(done, 1)
	})
}

func TestStopEndsRun(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		r, done := b.begin()
		r.Stop()
		b.wantEnd(done, 0)
	})
}

// Whoever holds the lock gives it up at the release: until then the record says that it is held.
func TestTheRecordOfALockThatIsHeldWhenItIsWantedSaysSo(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		r, done := b.begin()
		b.held.Store(true)
		b.queues()
		b.wantEnd(done, 0)
		if b.record().Retained || !r.Wanted() || b.asked.Load() != 1 {
			t.Errorf("%+v, wanted: %v, asked %d times", b.record(), r.Wanted(), b.asked.Load())
		}
	})
}

func TestAnEntryThatIsGoneIsNotPutAgain(t *testing.T) {
	for _, held := range []bool{true, false} {
		inBed(t, func(t *testing.T, b *bed) {
			_, done := b.begin()
			b.held.Store(held)
			proctest.Must(b.Other.Delete(t.Context(), b.e.Name))
			want := int32(1)
			if held {
				want = 0
			}
			b.wantEnd(done, want)
			if n := proctest.Must(b.Other.Get(t.Context(), b.e.Dir, clientv3.WithPrefix())).Count; n != 0 {
				t.Errorf("%d keys", n)
			}
		})
	}
}

func TestWithoutAWatchALockIsUsableForAMomentOnly(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		r, done := b.begin()
		b.deaf.Store(true)
		b.Mine.BreakStreams()
		b.Settle()
		if !r.Usable() {
			t.Error("it is not usable at once")
		}
		time.Sleep(2 * trust)
		if r.Usable() {
			t.Error("it stays usable")
		}
		b.deaf.Store(false)
		time.Sleep(5 * time.Second)
		b.wantRunning(done)
		if !r.Usable() {
			t.Error("it is not usable when the watch is back")
		}
	})
}

func TestWhoQueuesWhileNoWatchWorksIsSeen(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		_, done := b.begin()
		b.deaf.Store(true)
		b.Mine.BreakStreams()
		time.Sleep(time.Second)
		b.queues()
		b.wantRunning(done)
		b.deaf.Store(false)
		time.Sleep(5 * time.Second)
		b.wantEnd(done, 1)
	})
}

func TestTheMarkOfAnEvictionIsNotWrittenOver(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.mark()
		if b.Begin(t.Context(), b.e) != nil {
			t.Error("it is retained")
		}
		if !b.record().Evicted {
			t.Error("the mark is gone")
		}
	})
	inBed(t, func(t *testing.T, b *bed) {
		r, done := b.begin()
		b.held.Store(true)
		b.mark()
		b.queues()
		b.wantEnd(done, 0)
		if !b.record().Evicted || r.LockSure(t.Context()) {
			t.Errorf("%+v", b.record())
		}
	})
}

func TestARecordInDoubtIsSureAgainAfterTheNextPut(t *testing.T) {
	for name, fate := range map[string]etcdsim.Fate{
		"carried out":     {Lose: etcdsim.Answer},
		"not carried out": {Lose: etcdsim.Request},
		"refused":         {Refuse: rpctypes.ErrGRPCNoSpace},
	} {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(t *testing.T, b *bed) {
				r := b.Begin(t.Context(), b.e)
				b.write.Store(&fate)
				if r.publish(t.Context(), true) {
					t.Fatal("etcd has answered")
				}
				if sure := r.LockSure(t.Context()); sure {
					t.Errorf("the record is sure after a put that was %s", name)
				}
				again := r.publish(t.Context(), true)
				carried := name == "carried out"
				if !again || r.Wanted() != carried { // who it was that has put the record is not known
					t.Errorf("again: %v, wanted: %v", again, r.Wanted())
				}
				if sure := r.LockSure(t.Context()); sure == carried {
					t.Errorf("sure: %v", sure)
				} else if sure {
					r.Unlock()
				}
			})
		})
	}
}

func TestOnePutsTheRecordAtATime(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		r := b.Begin(t.Context(), b.e)
		if !r.LockSure(t.Context()) {
			t.Fatal("not locked")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if r.Lock(ctx) || r.publish(ctx, false) {
			t.Error("two put the record")
		}
		r.Unlock()
		if !r.publish(t.Context(), true) {
			t.Error("it stays locked")
		}
	})
}

func TestWhatWasNeverRetained(t *testing.T) {
	var r *Retention
	if !r.Usable() || r.Wanted() || !r.LockSure(t.Context()) {
		t.Error("it is not like any entry")
	}
	r.Unlock()
	r.Stop()
}

func TestAnEntryThatSomebodyAsksForIsGivenUp(t *testing.T) {
	for _, held := range []bool{false, true} {
		inBed(t, func(t *testing.T, b *bed) {
			r, done := b.begin()
			b.held.Store(held)
			put := func(change func(*record.Record)) {
				now := b.record()
				change(&now)
				proctest.Must(b.Other.Put(t.Context(), b.e.Name, string(now.Encode()), clientv3.WithIgnoreLease()))
				b.Settle()
			}
			put(func(r *record.Record) { r.Owner = "by hand" })
			b.wantRunning(done)
			put(func(r *record.Record) { r.Request = &record.Request{By: "ops"} })
			given := int32(1)
			if held {
				given = 0
			}
			b.wantEnd(done, given)
			if !r.Wanted() || record.Requested(proctest.Must(b.Other.Get(t.Context(), b.e.Name)).Kvs[0]) == nil {
				t.Errorf("wanted: %v, %+v", r.Wanted(), b.record())
			}
			r.Stop()
		})
	}
}
