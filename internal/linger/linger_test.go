package linger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
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

// d is how long the entry of a bed is to stay.
const d = 30 * time.Second

// A bed has an entry, which is to stay, in virtual time.
type bed struct {
	*proctest.Process
	t     *testing.T
	e     *queue.Entry
	s     *Stay
	began time.Time
	grant int64 // the TTL of the last lease that was asked for
	drain func()

	mu   sync.Mutex // guards fate where it changes while calls are sent
	fate func(call etcdsim.Call) etcdsim.Fate
}

func inBed(t *testing.T, f func(t *testing.T, b *bed)) {
	t.Helper()
	b := &bed{t: t, fate: func(etcdsim.Call) (fate etcdsim.Fate) { return fate }}
	plan := func(call etcdsim.Call, _ *rand.Rand) etcdsim.Fate {
		if r, ok := call.Request.(*pb.LeaseGrantRequest); ok {
			b.grant = r.TTL
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.fate(call)
	}
	proctest.Run(t, plan, func(t *testing.T, p *proctest.Process) {
		b.t, b.Process = t, p
		queues := queue.NewSet(queue.Config{
			Config: place.Config{Etcd: p.Etcd, Batch: p.Batch, Feeds: p.Feeds, Base: p.Base, Spawn: p.Spawn}, GaveUp: p.Leases.GaveUp, Prefix: "elock", Log: p.Log,
		})
		l := proctest.Must(p.Leases.Use(t.Context(), 10))
		e := queues.Entry(keyspace.MustParse("lock"), l, record.Record{Owner: "a", Mode: record.Exclusive, Since: time.Now()}, nil)
		if err := e.Obtain(t.Context(), false, func(*mvccpb.KeyValue, int) {}); err != nil {
			t.Fatal(err)
		}
		b.e, b.began = &e, time.Now()
		drain, stop := context.WithCancel(p.Base)
		defer stop()
		b.drain = stop
		b.s = (&Config{Etcd: p.Etcd, Queues: queues, Feeds: p.Feeds, Drain: drain, Grants: p.Base, Base: p.Base}).Stay(&e, b.began.Add(d))
		f(t, b)
	})
}

// entry returns the entry in etcd, nil if it is gone.
func (b *bed) entry() *mvccpb.KeyValue {
	kvs := proctest.Must(b.Other.Get(b.t.Context(), b.e.Name)).Kvs
	if len(kvs) == 0 {
		return nil
	}
	return kvs[0]
}

// moved wants the entry to be where it was in the queue, under a lease of its own.
func (b *bed) moved() {
	b.t.Helper()
	kv := b.entry()
	if kv == nil || kv.CreateRevision != b.e.Rev || kv.Lease == b.e.LeaseID {
		b.t.Fatalf("the entry is %v", kv)
	}
	if r, ok := record.Parse(kv.Value); !ok || !r.Until.Equal(b.began.Add(d)) || r.Owner != "a" || r.Nonce != b.e.Record().Nonce {
		b.t.Errorf("its record is %s", kv.Value)
	}
}

// gone waits until the entry is gone, and returns after how long.
func (b *bed) gone() time.Duration {
	for b.entry() != nil {
		time.Sleep(100 * time.Millisecond)
	}
	return time.Since(b.began)
}

func TestAnEntryOutlivesItsProcessUntilThatMoment(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		time.Sleep(1500 * time.Millisecond)
		if err := b.s.Move(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.moved()
		if err := b.s.Move(t.Context()); err != nil {
			t.Error(err)
		}
		b.moved()
		if b.grant != 29 {
			t.Errorf("a lease of %d s", b.grant)
		}
		if _, err := b.Leases.Revoke(t.Context()); err != nil {
			t.Fatal(err)
		}
		if after := b.gone(); after < d || after > d+time.Second {
			t.Errorf("gone after %v", after)
		}
	})
}

var fates = map[string][]etcdsim.Fate{
	"": nil, "request lost": {{Lose: etcdsim.Request}}, "answer lost": {{Lose: etcdsim.Answer}},
	"answers lost": {{Lose: etcdsim.Answer}, {Lose: etcdsim.Answer}}, "swallowed": {{Lose: etcdsim.Answer, Hang: true}},
	"late": {{Lose: etcdsim.Request, Hang: true, Late: 700 * time.Millisecond}},
}

// next sets the fates of the next calls that match.
func (b *bed) next(match func(etcdsim.Call) bool, fates ...etcdsim.Fate) {
	b.fate = func(call etcdsim.Call) (fate etcdsim.Fate) {
		if match(call) && len(fates) > 0 {
			fate, fates = fates[0], fates[1:]
		}
		return fate
	}
}

func grants(call etcdsim.Call) bool { return call.Method == "LeaseGrant" }
func moves(call etcdsim.Call) bool  { return strings.Contains(fmt.Sprint(call.Request), `\"until\"`) }

func TestAMoveWhoseAnswerIsLostIsFound(t *testing.T) {
	for name, f := range fates {
		for what, match := range map[string]func(etcdsim.Call) bool{"grant": grants, "move": moves} {
			t.Run(what+" "+name, func(t *testing.T) {
				inBed(t, func(t *testing.T, b *bed) {
					b.next(match, f...)
					if err := b.s.Move(t.Context()); err != nil {
						t.Fatal(err)
					}
					b.moved()
					time.Sleep(2 * time.Second)
					b.moved()
				})
			})
		}
	}
}

func TestAMoveThatOutlastsItsLeaseGetsAnother(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		if err := b.s.Grant(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		proctest.Must(b.Other.Revoke(t.Context(), b.s.lease()))
		if err := b.s.Move(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.moved()
	})
}

func TestAnEntryThatIsGoneDoesNotMove(t *testing.T) {
	for name, act := range map[string]func(b *bed){
		"deleted": func(b *bed) { proctest.Must(b.Other.Delete(b.t.Context(), b.e.Name)) },
		"another": func(b *bed) {
			proctest.Must(b.Other.Delete(b.t.Context(), b.e.Name))
			proctest.Must(b.Other.Put(b.t.Context(), b.e.Name, "other", clientv3.WithLease(clientv3.LeaseID(b.e.LeaseID))))
		},
		"by hand": func(b *bed) { proctest.Must(b.Other.Put(b.t.Context(), b.e.Name, "hand")) },
	} {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(t *testing.T, b *bed) {
				act(b)
				before := b.entry()
				if err := b.s.Move(t.Context()); err != place.ErrDisplaced {
					t.Errorf("moved: %v", err)
				}
				if after := b.entry(); before.GetModRevision() != after.GetModRevision() {
					t.Errorf("it is %v", after)
				}
				if err := b.s.Settle(t.Context(), t.Context(), func(err error) { t.Error(err) }); err != place.ErrDisplaced {
					t.Errorf("settled: %v", err)
				}
				b.s.Wait(t.Context()) // returns
				if err := b.s.End(t.Context()); err != nil || before.GetModRevision() != b.entry().GetModRevision() && name == "another" {
					t.Errorf("ended: %v, it is %v", err, b.entry())
				}
			})
		})
	}
}

// Whatever etcd says of the transaction of a commit, it is found out whether it was carried out, and then it is not carried out any more.
func TestTheOutcomeOfACommitShowsByTheLease(t *testing.T) {
	for name, c := range map[string]struct {
		carriedOut bool
		then       func(b *bed)
		known      bool
	}{
		"carried out":                   {true, func(*bed) {}, true},
		"not carried out":               {false, func(*bed) {}, true},
		"carried out, and then evicted": {true, func(b *bed) { proctest.Must(b.Other.Delete(b.t.Context(), b.e.Name)) }, true},
		"evicted":                       {false, func(b *bed) { proctest.Must(b.Other.Delete(b.t.Context(), b.e.Name)) }, true},
		"carried out, and then written over by hand": {true, func(b *bed) {
			proctest.Must(b.Other.Put(b.t.Context(), b.e.Name, "hand"))
			proctest.Must(b.Other.Delete(b.t.Context(), b.e.Name))
		}, false},
	} {
		for fate, f := range fates {
			t.Run(name+" "+fate, func(t *testing.T) {
				inBed(t, func(t *testing.T, b *bed) {
					if err := b.s.Grant(t.Context(), time.Minute); err != nil || b.grant != 60 {
						t.Fatal(b.grant, err)
					}
					commit := b.Other.Txn(t.Context()).If(b.s.Held()...).Then(b.s.Put())
					if c.carriedOut {
						proctest.Must(commit.Commit())
					}
					c.then(b)
					b.next(moves, f...)
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					defer cancel()
					if done, known := b.s.Committed(ctx); known != c.known || known && done != c.carriedOut {
						t.Errorf("done: %v, known: %v", done, known)
					}
					if late := proctest.Must(commit.Commit()); late.Succeeded {
						t.Error("it was carried out late")
					}
				})
			})
		}
	}
}

func TestWhatEtcdRefusesIsTriedAgainWhileThereIsTime(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.fate = func(call etcdsim.Call) (fate etcdsim.Fate) {
			if moves(call) && time.Since(b.began) < 10*time.Second {
				fate.Refuse = rpctypes.ErrGRPCNoSpace
			}
			return fate
		}
		told := 0
		if err := b.s.Settle(t.Context(), t.Context(), func(error) { told++ }); err != nil || told < 5 || told > 15 {
			t.Errorf("%v, after %d failures", err, told)
		}
		b.moved()
	})
	inBed(t, func(t *testing.T, b *bed) { // until then
		b.fate = func(call etcdsim.Call) (fate etcdsim.Fate) {
			if moves(call) {
				fate.Refuse = rpctypes.ErrGRPCNoSpace
			}
			return fate
		}
		if err := b.s.Settle(t.Context(), t.Context(), func(error) {}); err == nil || time.Since(b.began) < d-time.Second || time.Since(b.began) > d+time.Second {
			t.Errorf("%v after %v", err, time.Since(b.began))
		}
	})
	inBed(t, func(t *testing.T, b *bed) { // until the process ends
		b.fate = func(call etcdsim.Call) (fate etcdsim.Fate) {
			if moves(call) {
				fate.Refuse = rpctypes.ErrGRPCNoSpace
			}
			return fate
		}
		stop, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := b.s.Settle(t.Context(), stop, func(error) {}); !errors.Is(err, rpctypes.ErrNoSpace) || time.Since(b.began) > 6*time.Second {
			t.Errorf("%v after %v", err, time.Since(b.began))
		}
	})
}

func TestAWaitEndsWithTheTimeTheEntryOrTheProcess(t *testing.T) {
	for name, c := range map[string]struct {
		deaf   bool
		act    func(b *bed, stop func())
		least  time.Duration
		latest time.Duration
	}{
		"time":           {false, func(*bed, func()) {}, d, d},
		"entry":          {false, func(b *bed, _ func()) { proctest.Must(b.Other.Delete(b.t.Context(), b.e.Name)) }, 10 * time.Second, 11 * time.Second},
		"process":        {false, func(_ *bed, stop func()) { stop() }, 10 * time.Second, 10 * time.Second},
		"time, no watch": {true, func(*bed, func()) {}, d, d},
		"entry, watch late": {true, func(b *bed, _ func()) {
			proctest.Must(b.Other.Delete(b.t.Context(), b.e.Name))
			b.mu.Lock()
			defer b.mu.Unlock()
			b.fate = func(etcdsim.Call) (fate etcdsim.Fate) { return fate }
		}, 10 * time.Second, 16 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(t *testing.T, b *bed) {
				if c.deaf {
					b.mu.Lock()
					b.fate = func(call etcdsim.Call) (fate etcdsim.Fate) {
						if call.Method == "Watch" && call.Request != nil {
							fate.Refuse = rpctypes.ErrGRPCNoLeader
						}
						return fate
					}
					b.mu.Unlock()
				}
				if err := b.s.Move(t.Context()); err != nil {
					t.Fatal(err)
				}
				stop, cancel := context.WithCancel(t.Context())
				defer cancel()
				time.AfterFunc(10*time.Second, func() { c.act(b, cancel) })
				b.s.Wait(stop)
				if after := time.Since(b.began); after < c.least || after > c.latest {
					t.Errorf("waited %v", after)
				}
			})
		})
	}
}

func TestAnEndRemovesAnEntryThatDidNotMove(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		if err := b.s.End(t.Context()); err != nil || b.entry() != nil {
			t.Errorf("%v, the entry is %v", err, b.entry())
		}
	})
}

func TestAnEndRemovesTheEntryAndItsLeases(t *testing.T) {
	for name, f := range fates {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(t *testing.T, b *bed) {
				if err := b.s.Grant(t.Context(), 0); err != nil {
					t.Fatal(err)
				}
				if err := b.s.Grant(t.Context(), 0); err != nil {
					t.Fatal(err)
				}
				if err := b.s.Move(t.Context()); err != nil {
					t.Fatal(err)
				}
				b.next(func(call etcdsim.Call) bool { return call.Method == "Txn" }, f...)
				if err := b.s.End(t.Context()); err != nil {
					t.Error(err)
				}
				if b.entry() != nil {
					t.Error("the entry is there")
				}
				if n := len(proctest.Must(b.Other.Leases(t.Context())).Leases); n != 1 {
					t.Errorf("%d leases", n)
				}
			})
		})
	}
}

// An outlasting is a call of Outlast.
type outlasting struct {
	mu   sync.Mutex
	said told
}

// What it has told by now.
type told struct {
	failed, settled int
	early           error
	over            bool
}

func (b *bed) outlast(moved bool) *outlasting {
	o := new(outlasting)
	note := func(what func()) {
		o.mu.Lock()
		defer o.mu.Unlock()
		what()
	}
	go func() {
		b.s.Outlast(moved, func(error) { note(func() { o.said.failed++ }) }, func(err error) {
			note(func() {
				if o.said.settled > 0 {
					b.t.Error("told too late that the entry goes early")
				}
				o.said.early = err
			})
		}, func() { note(func() { o.said.settled++ }) })
		note(func() { o.said.over = true })
	}()
	synctest.Wait()
	return o
}

func (o *outlasting) told() told {
	synctest.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.said
}

func TestAnEntryOutlastsItsHoldAndIsRemovedInTime(t *testing.T) {
	for name, before := range map[string]bool{"": false, "moved before": true} {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(t *testing.T, b *bed) {
				if before {
					if err := b.s.Move(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				o := b.outlast(before)
				b.moved()
				time.Sleep(d - time.Second)
				b.moved()
				if got, want := o.told(), (told{settled: 1}); got != want {
					t.Errorf("%+v", got)
				}
				time.Sleep(time.Second)
				if got, want := o.told(), (told{settled: 1, over: true}); got != want || b.entry() != nil {
					t.Errorf("%+v, and in etcd is %v", got, b.entry())
				}
			})
		})
	}
}

func TestAnEntryOutlastsItsProcess(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		o := b.outlast(false)
		b.drain()
		synctest.Wait()
		b.moved()
		if got, want := o.told(), (told{settled: 1, over: true}); got != want {
			t.Errorf("%+v", got)
		}
	})
}

func TestAnEntryThatCannotOutlastItsProcessIsTold(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.fate = func(call etcdsim.Call) (fate etcdsim.Fate) {
			if moves(call) {
				fate.Refuse = rpctypes.ErrGRPCNoSpace
			}
			return fate
		}
		o := b.outlast(false)
		time.Sleep(5 * time.Second)
		if got := o.told(); got.failed == 0 || got.settled > 0 || got.early != nil {
			t.Errorf("%+v", got)
		}
		b.drain()
		time.Sleep(5 * time.Second)
		if got := o.told(); !errors.Is(got.early, rpctypes.ErrNoSpace) || got.settled != 1 || !got.over {
			t.Errorf("%+v", got)
		}
	})
}

// It is under a lease that others keep: it would not expire.
func TestAnEntryThatCouldNotMoveIsRemovedOnceEtcdLetsIt(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.fate = func(call etcdsim.Call) (fate etcdsim.Fate) {
			if call.Client == "mine" && (call.Method == "Txn" || call.Method == "LeaseGrant") {
				fate.Refuse = rpctypes.ErrGRPCCorrupt
			}
			return fate
		}
		o := b.outlast(false)
		time.Sleep(d + 10*time.Second)
		if got := o.told(); got.over || b.entry() == nil {
			t.Errorf("%+v, and in etcd is %v", got, b.entry())
		}
		b.mu.Lock()
		b.next(moves)
		b.mu.Unlock()
		time.Sleep(2 * retry)
		if got := o.told(); got.settled != 1 || !got.over || b.entry() != nil {
			t.Errorf("%+v, and in etcd is %v", got, b.entry())
		}
	})
}

func TestAnEntryThatIsGoneDoesNotOutlastItsHold(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		proctest.Must(b.Other.Delete(t.Context(), b.e.Name))
		o := b.outlast(false)
		time.Sleep(time.Second)
		if got, want := o.told(), (told{settled: 1, over: true}); got != want {
			t.Errorf("%+v", got)
		}
	})
}
