package entry

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/proctest"
	"github.com/phpgao/elock/internal/record"
)

func TestALockPassesWithoutACall(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		g := b.get("a", alone)
		next := b.start("b", alone)
		b.costs(0, func() {
			b.releases(g.Entry, "passed")
			if n := next.gets(); n.Entry != g.Entry || n.Turn != 1 {
				t.Errorf("it passed with %+v", n)
			}
		})
		b.releases(g.Entry, "left")
		b.free()
	})
}

// What passes on must be good for the next, and others must have their turn.
func TestALockThatMayNotPassIsRequeued(t *testing.T) {
	for name, c := range map[string]struct {
		first, second Want
		before        func(b *bed, e *Entry)
	}{
		"in time":               {alone, alone, func(*bed, *Entry) { time.Sleep(time.Second) }},
		"after its turns":       {alone, alone, func(_ *bed, e *Entry) { e.turn = 2 }},
		"it was asked for":      {alone, alone, func(_ *bed, e *Entry) { e.Asked.Store(true) }},
		"the next shares":       {alone, shared, func(*bed, *Entry) {}},
		"it was shared":         {shared, alone, func(*bed, *Entry) {}},
		"it announces":          {Want{Seconds: 100, Announces: true, Announcement: "x"}, alone, func(*bed, *Entry) {}},
		"the next announces":    {alone, Want{Seconds: 100, Announces: true, Announcement: "x"}, func(*bed, *Entry) {}},
		"and both announce":     {Want{Seconds: 100, Announces: true}, Want{Seconds: 100, Announces: true}, func(*bed, *Entry) {}},
		"another is in between": {alone, alone, func(b *bed, e *Entry) { b.foreign("other"); time.Sleep(time.Second) }},
	} {
		t.Run(name, func(t *testing.T) {
			inBed(t, nil, func(t *testing.T, b *bed) {
				g := b.get("a", c.first)
				next := b.start("b", c.second)
				c.before(b, g.Entry)
				between := len(b.kvs()) > 1
				b.costs(1, func() { b.releases(g.Entry, "requeued") })
				if between {
					next.waits()
					b.queued("other", "b")
					proctest.Must(b.Other.Delete(t.Context(), "/elock/lock/other"))
				}
				n := next.gets()
				if n.Entry == g.Entry || n.Turn != 0 || n.Entry.Name == g.Entry.Name || n.Entry.Lease != g.Entry.Lease {
					t.Errorf("it got %+v", n)
				}
				b.queued("b")
				b.releases(n.Entry, "left")
				b.free()
			})
		})
	}
}

func TestALockWhoseLeaseDoesNotSuitTheNextIsLeft(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		g := b.get("a", alone)
		next := b.start("b", Want{Seconds: 3})
		b.releases(g.Entry, "left")
		n := next.gets()
		if n.Entry.Lease == g.Entry.Lease {
			t.Error("it is under the other lease")
		}
		b.releases(n.Entry, "left")
		b.free()
	})
}

func TestALockWhoseNextGivesUpMeanwhileGoesToTheOneBehind(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		g := b.get("a", alone)
		second, third := b.start("b", alone), b.start("c", alone)
		if !g.Entry.Pass(func() { second.cancel(); synctest.Wait() }) {
			t.Fatal("it did not pass")
		}
		second.fails(context.Canceled)
		n := third.gets()
		fourth := b.start("d", alone)
		if n.Entry.Pass(func() { fourth.cancel(); synctest.Wait() }) {
			t.Error("it passed to nobody")
		}
		b.releases(n.Entry, "left")
		b.free()
	})
}

func TestASuccessorThatNobodyWantsAnyMoreIsRemoved(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		g := b.get("a", alone)
		next := b.start("b", alone)
		w := b.Etcd.Detached(t.Context())
		defer w.Stop()
		ok, err := g.Entry.Requeue(w, func() {
			if g.Entry.Successor == nil {
				t.Error("a goroutine that ends here leaves the successor")
			}
			next.cancel()
			synctest.Wait()
		})
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
		b.free()
	})
}

func TestAnEntryThatIsGoneIsNotReplaced(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		g := b.get("a", alone)
		next := b.start("b", shared)
		proctest.Must(b.Other.Delete(t.Context(), g.Entry.Name))
		b.releases(g.Entry, "left")
		b.releases(next.gets().Entry, "left")
		b.free()
	})
}

func TestEtcdIsSilentAsALockIsRequeued(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		g := b.get("a", alone)
		next := b.start("b", shared)
		b.silence(true)
		b.releases(g.Entry, "settling")
		next.waits()
		b.silence(false)
		n := next.gets()
		b.queued("b")
		b.releases(n.Entry, "left")
		b.free()
	})
}

func TestSlotsHaveAnEntryEachWhichPassesOn(t *testing.T) {
	inBed(t, retaining, func(t *testing.T, b *bed) {
		first, second := b.get("a", slots(2, 1)), b.get("b", slots(2, 1))
		if first.Entry.Name == second.Entry.Name || len(b.kvs()) != 2 {
			t.Fatalf("in etcd: %v", b.kvs())
		}
		third := b.start("c", slots(2, 1))
		if f := first.Entry.Follow(t.Context(), true); f.Stays || f.Next != nil || f.Successor != nil {
			t.Errorf("a slot is followed by %+v", f)
		}
		b.releases(second.Entry, "passed")
		if g := third.gets(); g.Entry != second.Entry || g.Turn != 1 {
			t.Errorf("it got %+v", g)
		}
		both := b.start("d", slots(2, 2))
		b.releases(first.Entry, "left")
		both.waits()
		b.releases(second.Entry, "left")
		b.releases(both.gets().Entry, "left")
		b.free()
	})
}

// A commit is the transaction of a holder that writes "/x", and passes the lock on.
func (b *bed) commit(e *Entry, f *Following) batch.Result {
	b.t.Helper()
	held, exit := f.Amend(b.t.Context(), []clientv3.Cmp{record.Created(e.Name, e.Rev)}, []clientv3.Op{clientv3.OpDelete(e.Name)})
	a, err := b.Batch.Commit(b.t.Context(), batch.Txn{Key: key, If: held, Then: append([]clientv3.Op{clientv3.OpPut("/x", "value")}, exit...)})
	if err != nil || !a.Succeeded {
		b.t.Fatal(a, err)
	}
	return a
}

var (
	write   = []clientv3.Op{clientv3.OpPut("/x", "value")}
	reading = Want{Seconds: 100, Reads: []string{"/x"}}
)

func TestAnEntryStaysWithACommitForTheNext(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		g := b.get("a", alone)
		next := b.start("b", reading)
		f := g.Entry.Follow(t.Context(), true)
		if !f.Stays || f.Next == nil || f.Successor != nil {
			t.Fatalf("%+v follows", f)
		}
		a := b.commit(g.Entry, &f)
		f.Stayed(a.Revision, write, a.Responses[1:])
		f.Unlock()
		b.costs(0, func() {
			b.releases(g.Entry, "passed")
			n := next.gets()
			if n.Turn != 1 || n.Entry != g.Entry || n.Read.Rev != a.Revision || string(n.Read.KVs[0].Value) != "value" {
				t.Errorf("it got %+v", n)
			}
		})
		b.releases(g.Entry, "left")
		b.free()
	})
}

func TestAnEntryDoesNotStayForOneWhoWantsItOtherwise(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		g := b.get("a", alone)
		next := b.start("b", shared)
		if f := g.Entry.Follow(t.Context(), true); f.Stays || f.Successor == nil {
			t.Errorf("%+v follows", f)
		}
		b.releases(g.Entry, "requeued")
		b.releases(next.gets().Entry, "left")
		b.free()
	})
}

// What a commit has read for the next, who gave up, is not for another one.
func TestWhatWasReadForOneThatGaveUpIsForgotten(t *testing.T) {
	inBed(t, retaining, func(t *testing.T, b *bed) {
		g := b.get("a", alone)
		next := b.start("b", reading)
		f := g.Entry.Follow(t.Context(), true)
		a := b.commit(g.Entry, &f)
		f.Stayed(a.Revision, write, a.Responses[1:])
		next.cancel()
		next.fails(context.Canceled)
		b.releases(g.Entry, "retained")
		proctest.Must(b.Other.Put(t.Context(), "/x", "new"))
		fresh := reading
		fresh.Fresh = true
		if g = b.get("c", fresh); string(g.Read.KVs[0].Value) != "new" {
			t.Errorf("it got %+v", g.Read)
		}
	})
}

func TestAnEntryIsReplacedWithACommit(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		g := b.get("a", alone)
		next := b.start("b", reading)
		f := g.Entry.Follow(t.Context(), false)
		if f.Stays || f.Next == nil || f.Successor == nil {
			t.Fatalf("%+v follows", f)
		}
		a := b.commit(g.Entry, &f)
		f.Unlock()
		told := false
		f.Replaced(a.Revision, a.Responses[1:], func() { told = true })
		n := next.gets()
		if !told || n.Entry != f.Successor || n.Turn != 0 || string(n.Read.KVs[0].Value) != "value" {
			t.Errorf("told: %v; it got %+v", told, n)
		}
		b.releases(n.Entry, "left")
		b.free()
	})
}

func TestNobodyFollowsACommit(t *testing.T) {
	inBed(t, nil, func(t *testing.T, b *bed) {
		g := b.get("a", alone)
		f := g.Entry.Follow(t.Context(), true)
		if f.Stays || f.Next != nil || f.Successor != nil {
			t.Fatalf("%+v follows", f)
		}
		b.commit(g.Entry, &f)
		f.Unlock()
		g.Entry.Done()
		b.free()
		e := b.get("b", alone).Entry
		e.Asked.Store(true)
		if f := e.Follow(t.Context(), true); f.Stays {
			t.Error("it stays though it was asked for")
		}
		b.releases(e, "left")
	})
}

// A value that a commit has put is known, until another commit writes something else.
func TestWhatACommitHasPutIsKnownUnderARetainedLock(t *testing.T) {
	lasting := func(cfg *Config) { cfg.Retains, cfg.Turns = true, 9 }
	inBed(t, lasting, func(t *testing.T, b *bed) {
		g := b.get("a", alone)
		f := g.Entry.Follow(t.Context(), true)
		if !f.Stays {
			t.Fatal("it does not stay")
		}
		a := b.commit(g.Entry, &f)
		f.Stayed(a.Revision, write, a.Responses[1:])
		b.releases(g.Entry, "retained")
		var n Grant
		b.costs(0, func() { n = b.get("b", reading) })
		kv := n.Read.KVs[0]
		if n.Turn != 1 || n.Read.Rev != a.Revision || string(kv.Value) != "value" || kv.ModRevision != a.Revision {
			t.Errorf("it got %+v", n)
		}
		copy(kv.Value, "other") // what is known does not change with it
		if f = n.Entry.Follow(t.Context(), true); !f.Stays || n.Entry.retention.LockSure(canceled()) {
			t.Error("others may put the record")
		}
		f.Unlock()
		b.releases(n.Entry, "passed")
		b.costs(0, func() { n = b.get("c", reading) })
		if string(n.Read.KVs[0].Value) != "value" {
			t.Errorf("it read %v", n.Read.KVs)
		}
		b.releases(n.Entry, "passed")
		fresh := reading
		fresh.Fresh = true
		b.costs(1, func() { n = b.get("d", fresh) })
		if n.Turn != 3 || n.Read.KVs[0].Version != 1 {
			t.Errorf("it read %+v", n.Read)
		}
		for _, ops := range [][]clientv3.Op{nil, {write[0], write[0]}, {clientv3.OpDelete("/x")}, {clientv3.OpPut("/x", "")}, {clientv3.OpPut("/x", string(bytes.Repeat([]byte("x"), maxKnown+1)))}} {
			n.Entry.remember(1, write)
			if n.Entry.remember(2, ops); n.Entry.known != nil {
				t.Errorf("%v is known", n.Entry.known)
			}
		}
		b.releases(n.Entry, "passed")
	})
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
