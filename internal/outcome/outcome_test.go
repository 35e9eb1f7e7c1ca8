package outcome

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/place"
	"github.com/phpgao/elock/internal/proctest"
	"github.com/phpgao/elock/internal/queue"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/keyspace"
)

const value = "value"

// A bed has an entry that holds a lock, and a Question about a transaction of its owner.
type bed struct {
	*proctest.Process
	t    *testing.T
	e    *queue.Entry
	q    *Question
	ops  []clientv3.Op // the owner's
	fate func(request string) etcdsim.Fate
}

// in runs f with a bed whose transaction does ops besides.
func in(t *testing.T, stays bool, f func(t *testing.T, b *bed), ops ...clientv3.Op) {
	t.Helper()
	b := &bed{fate: func(string) (fate etcdsim.Fate) { return fate }}
	plan := func(call etcdsim.Call, _ *rand.Rand) etcdsim.Fate { return b.fate(fmt.Sprint(call.Request)) }
	proctest.Run(t, plan, func(t *testing.T, p *proctest.Process) {
		b.t, b.Process, b.ops = t, p, ops
		queues := queue.NewSet(queue.Config{
			Config: place.Config{Etcd: p.Etcd, Batch: p.Batch, Feeds: p.Feeds, Base: p.Base, Spawn: p.Spawn}, GaveUp: p.Leases.GaveUp, Prefix: "elock", Log: p.Log,
		})
		proctest.Must(p.Other.Put(t.Context(), value, "old"))
		l := proctest.Must(p.Leases.Use(t.Context(), 100))
		e := queues.Entry(keyspace.MustParse("lock"), l, record.Record{Mode: record.Exclusive, Since: time.Now()}, nil)
		if err := e.Obtain(t.Context(), false, func(*mvccpb.KeyValue, int) {}); err != nil {
			t.Fatal(err)
		}
		b.e = &e
		b.q = &Question{Etcd: p.Etcd, Batch: p.Batch, Queues: queues, Entry: &e, Stays: stays, Ops: ops, Since: e.Rev}
		f(t, b)
	})
}

// carryOut does what the transaction does.
func (b *bed) carryOut() {
	b.t.Helper()
	own := clientv3.OpDelete(b.e.Name)
	if b.q.Stays {
		own = b.rewrite(func(*record.Record) {})
	}
	b.does(append([]clientv3.Op{own}, b.ops...)...)
}

// rewrite puts the record again, after a change.
func (b *bed) rewrite(change func(*record.Record)) clientv3.Op {
	r := b.e.Record()
	change(&r)
	return clientv3.OpPut(b.e.Name, string(r.Encode()), clientv3.WithIgnoreLease())
}

// tellTurn tells the entry its turn, as the one ahead does.
func (b *bed) tellTurn() clientv3.Op {
	kv := proctest.Must(b.Other.Get(b.t.Context(), b.e.Name)).Kvs[0]
	return clientv3.OpPut(b.e.Name, record.WithTurn(record.Follower{Rev: kv.CreateRevision, Value: kv.Value}, nil), clientv3.WithIgnoreLease())
}

// does has somebody carry out a transaction.
func (b *bed) does(ops ...clientv3.Op) {
	b.t.Helper()
	if _, err := b.Other.Txn(b.t.Context()).Then(ops...).Commit(); err != nil {
		b.t.Fatal(err)
	}
}

// says wants the answer to the Question, and no entry after it.
func (b *bed) says(done, known bool) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	if d, k := b.q.Resolve(ctx); d != done || k != known {
		b.t.Errorf("done: %v, known: %v; want %v, %v", d, k, done, known)
	}
	if n := proctest.Must(b.Other.Get(b.t.Context(), b.e.Name)).Count; n != 0 && known {
		b.t.Error("the entry is there")
	}
}

var (
	put    = clientv3.OpPut(value, "new")
	touch  = clientv3.OpPut(value, "", clientv3.WithIgnoreValue())
	del    = clientv3.OpDelete(value)
	noDel  = clientv3.OpDelete("none")
	ranged = clientv3.OpDelete("range", clientv3.WithPrefix())
)

// ways are transactions, and whether their outcome shows when the entry was gone before it was asked for.
var ways = map[string]struct {
	ops   []clientv3.Op
	shows bool
}{
	"put":                      {[]clientv3.Op{put}, true},
	"put without value":        {[]clientv3.Op{touch}, true},
	"delete":                   {[]clientv3.Op{del}, true},
	"delete of nothing":        {[]clientv3.Op{noDel}, false},
	"delete of nothing, put":   {[]clientv3.Op{noDel, put}, true},
	"delete of a range":        {[]clientv3.Op{ranged}, false},
	"delete of a range, put":   {[]clientv3.Op{ranged, put}, true},
	"nothing but what is read": {[]clientv3.Op{clientv3.OpGet(value)}, false},
}

func TestWhatWasCarriedOutShows(t *testing.T) {
	for name, w := range ways {
		t.Run(name, func(t *testing.T) {
			in(t, false, func(t *testing.T, b *bed) {
				b.carryOut()
				b.does(clientv3.OpPut(value, "by the next"))
				b.says(w.shows, w.shows)
			}, w.ops...)
		})
	}
}

func TestWhatIsNotCarriedOutCannotBeAnyMore(t *testing.T) {
	for name, w := range ways {
		t.Run(name, func(t *testing.T) {
			in(t, false, func(t *testing.T, b *bed) { b.says(false, true) }, w.ops...)
		})
	}
}

func TestAnEntryThatSomebodyElseRemovedSaysThatNothingWasCarriedOut(t *testing.T) {
	for name, w := range ways {
		t.Run(name, func(t *testing.T) {
			in(t, false, func(t *testing.T, b *bed) {
				b.does(clientv3.OpDelete(b.e.Name))
				b.does(clientv3.OpPut(value, "new")) // by the next, which writes the same
				b.says(false, w.shows)
			}, w.ops...)
		})
	}
}

func TestAValueThatSomebodyPutsAsTheEntryGoesIsNotTheOwners(t *testing.T) {
	in(t, false, func(t *testing.T, b *bed) {
		b.does(clientv3.OpDelete(b.e.Name), clientv3.OpPut(value, "by hand"))
		b.says(false, true)
	}, put)
}

func TestOfAnEntryThatStaysTheRecordTells(t *testing.T) {
	mark := func(r *record.Record) { r.Evicted = true }
	ask := func(r *record.Record) { r.Request = &record.Request{By: "ops"} }
	for name, c := range map[string]struct {
		then func(b *bed)
		done bool
	}{
		"carried out":                      {func(b *bed) { b.carryOut() }, true},
		"not carried out":                  {func(*bed) {}, false},
		"carried out, and evicted":         {func(b *bed) { b.carryOut(); b.does(b.rewrite(mark)) }, true},
		"carried out, and asked for":       {func(b *bed) { b.carryOut(); b.does(b.rewrite(ask)) }, true},
		"asked for":                        {func(b *bed) { b.does(b.rewrite(ask)) }, false},
		"told its turn":                    {func(b *bed) { b.does(b.tellTurn()) }, false},
		"told its turn, and asked for":     {func(b *bed) { b.does(b.tellTurn()); b.does(b.rewrite(ask)) }, false},
		"told its turn, carried out":       {func(b *bed) { b.does(b.tellTurn()); b.carryOut() }, true},
		"asked for and evicted":            {func(b *bed) { b.does(b.rewrite(ask)); b.does(b.rewrite(mark)) }, false},
		"evicted":                          {func(b *bed) { b.does(b.rewrite(mark)) }, false},
		"carried out, evicted and removed": {func(b *bed) { b.carryOut(); b.does(b.rewrite(mark)); b.does(clientv3.OpDelete(b.e.Name)) }, true},
		"written over by hand":             {func(b *bed) { b.does(clientv3.OpPut(b.e.Name, "hand", clientv3.WithIgnoreLease())) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, true, func(t *testing.T, b *bed) {
				c.then(b)
				b.says(c.done, true)
			}, put)
		})
	}
}

func TestWithoutThePastItIsSaidOnlyWhereNobodyElseHasWritten(t *testing.T) {
	for name, c := range map[string]struct {
		stays       bool
		ops         []clientv3.Op
		then        func(b *bed)
		done, known bool
	}{
		"nobody has written":        {false, []clientv3.Op{put}, func(b *bed) { b.does(clientv3.OpDelete(b.e.Name)) }, false, true},
		"somebody has written":      {false, []clientv3.Op{put}, func(b *bed) { b.carryOut(); b.does(put) }, false, false},
		"the key is gone":           {false, []clientv3.Op{put}, func(b *bed) { b.carryOut(); b.does(del) }, false, false},
		"nothing was to be put":     {false, []clientv3.Op{del}, func(b *bed) { b.carryOut() }, false, false},
		"it was told its turn":      {true, []clientv3.Op{put}, func(b *bed) { b.does(b.tellTurn()) }, false, true},
		"the record was to tell it": {true, []clientv3.Op{put}, func(b *bed) { b.carryOut(); b.does(clientv3.OpDelete(b.e.Name)) }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, c.stays, func(t *testing.T, b *bed) {
				c.then(b)
				b.does(clientv3.OpPut("later", ""))
				b.does(clientv3.OpPut("later", ""))
				b.Sim.Compact()
				b.says(c.done, c.known)
			}, c.ops...)
		})
	}
}

// The end of the entry is known, and then the past is compacted.
func TestAValueOfTheRevisionAtWhichTheEntryWentIsTheOwners(t *testing.T) {
	in(t, false, func(t *testing.T, b *bed) {
		b.carryOut()
		b.fate = func(request string) (fate etcdsim.Fate) {
			if strings.Contains(request, "revision:") && strings.Contains(request, value) {
				fate.Refuse = rpctypes.ErrGRPCCompacted
				b.fate = func(string) (fate etcdsim.Fate) { return fate }
			}
			return fate
		}
		b.says(true, true)
	}, put)
}

func TestItIsAskedAgainWhileEtcdIsSilent(t *testing.T) {
	in(t, false, func(t *testing.T, b *bed) {
		b.carryOut()
		n := 0
		b.fate = func(string) (fate etcdsim.Fate) {
			if n++; n < 4 {
				fate.Lose, fate.Hang = etcdsim.Request, n%2 == 0
			}
			return fate
		}
		b.says(true, true)
	}, put)
}

func TestASilenceThatLastsAndARefusalTellNothing(t *testing.T) {
	in(t, false, func(t *testing.T, b *bed) {
		b.fate = func(string) etcdsim.Fate { return etcdsim.Fate{Refuse: rpctypes.ErrGRPCPermissionDenied} }
		b.says(false, false)
		b.fate = func(string) etcdsim.Fate { return etcdsim.Fate{Lose: etcdsim.Request} }
		b.says(false, false)
	}, put)
}

// A request says by itself that what was to be put over an older record is not put any more.
func TestWhatARequestIsWrittenOverTells(t *testing.T) {
	for _, done := range []bool{false, true} {
		in(t, true, func(t *testing.T, b *bed) {
			if done {
				b.carryOut()
			}
			b.does(b.rewrite(func(r *record.Record) { r.Request = &record.Request{By: "ops"} }))
			b.does(b.rewrite(func(r *record.Record) { r.Request = &record.Request{By: "ops", Reason: "again"} }))
			now := proctest.Must(b.Other.Get(t.Context(), b.e.Name)).Kvs[0]
			lost := false
			b.fate = func(string) (fate etcdsim.Fate) {
				if !lost {
					lost, fate.Lose = true, etcdsim.Answer
				}
				return fate
			}
			if got, err := b.q.Rewritten(t.Context(), now); got != done || err != nil {
				t.Errorf("done: %v, %v; want %v", got, err, done)
			}
			if n := proctest.Must(b.Other.Get(t.Context(), b.e.Name)).Count; n != 1 {
				t.Error("the entry is gone")
			}
		})
	}
}
