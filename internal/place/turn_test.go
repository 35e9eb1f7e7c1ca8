package place

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/proctest"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/internal/xctx"
)

// leave removes an entry that is the first, as a release does.
func (b *bed) leave(p *Place) {
	b.t.Helper()
	ops := append([]clientv3.Op{clientv3.OpDelete(p.Name)}, p.TellTurn(b.t.Context())...)
	if resp, err := b.Other.Txn(b.t.Context()).If(record.Created(p.Name, p.Rev)).Then(ops...).Commit(); err != nil || !resp.Succeeded {
		b.t.Fatalf("%s does not leave: %v", p.Name, err)
	}
}

// longQueue returns n entries, the first of which has read who follows it, and the waits of the others.
func (b *bed) longQueue(n int) (all []*Place, waits []*wait) {
	b.t.Helper()
	all = b.line(n, record.Exclusive)
	for _, p := range all[1:] {
		waits = append(waits, b.wait(p))
	}
	time.Sleep(time.Second) // the watches are in place
	if err := all[0].Look(b.t.Context()); err != nil || !all[0].First() {
		b.t.Fatal(err)
	}
	return all, waits
}

// The first of a long queue has read who follows it: the others hear of their turns, and do not read.
func TestALongQueueIsToldItsTurns(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		all, waits := b.longQueue(2 * record.MaxFollowers)
		told := 0
		for i, w := range waits {
			reads := b.reads.Load()
			b.leave(all[i])
			w.returns(nil)
			if !all[i+1].First() {
				t.Fatalf("%s is not the first", all[i+1].Name)
			}
			if b.reads.Load() == reads {
				told++
			}
		}
		if told < len(waits)*2/3 {
			t.Errorf("%d of %d did not read", told, len(waits))
		}
	})
}

// What the first has read names only so many.
func TestTheLastOfThoseWhoAreToldReadsOn(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		all, waits := b.longQueue(3 * record.MaxFollowers)
		for i, w := range waits[:2*record.MaxFollowers] {
			b.leave(all[i])
			left := time.Now()
			w.returns(nil)
			if waited := time.Since(left); !all[i+1].First() || waited >= turnPatience {
				t.Fatalf("%d is the first: %v, after %v", i+1, all[i+1].First(), waited)
			}
			if len(all[i+1].TellTurn(t.Context())) == 0 {
				t.Fatalf("%d does not know who follows", i+1)
			}
		}
	})
}

// Then the next one reads.
func TestOneThatWasToldItsTurnHoldsThoughItDoesNotHearWhoFollows(t *testing.T) {
	for name, none := range map[string]func(b *bed){
		"refused":   func(b *bed) { b.refuse.Store(true) },
		"no answer": func(b *bed) { b.lost.Store(1) },
	} {
		t.Run(name, func(t *testing.T) { toldWithout(t, none) })
	}
}

func toldWithout(t *testing.T, none func(b *bed)) {
	t.Helper()
	inBed(t, false, func(t *testing.T, b *bed) {
		all := b.line(Nearby+4, record.Exclusive)
		p := all[Nearby+2]
		w := b.wait(p)
		time.Sleep(time.Second) // the watches are in place
		kv := proctest.Must(b.Other.Get(t.Context(), p.Name)).Kvs[0]
		for _, other := range all[:Nearby+1] {
			b.delete(other)
		}
		none(b)
		began := time.Now()
		turn := record.WithTurn(record.Follower{Rev: p.Rev, Value: kv.Value}, nil)
		proctest.Must(b.Other.Txn(t.Context()).Then(clientv3.OpDelete(all[Nearby+1].Name), clientv3.OpPut(p.Name, turn, clientv3.WithIgnoreLease())).Commit())
		w.returns(nil)
		if !p.First() || len(p.TellTurn(t.Context())) > 0 || time.Since(began) > behindPatience {
			t.Errorf("first: %v, tells: %d, after %v", p.First(), len(p.TellTurn(t.Context())), time.Since(began))
		}
	})
}

func TestOneThatWasToldItsTurnReadsWhoFollowsUnlessItKnows(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		p := b.line(3, record.Exclusive)[0]
		p.Lead(p.Rev)
		for range 2 {
			p.lookBehind()
			p.TellTurn(t.Context())
			if n := b.reads.Load(); n != 1 || len(p.followers) != 2 {
				t.Errorf("%d reads, %d follow", n, len(p.followers))
			}
		}
	})
}

// The hold does not wait for the read, and its release does.
func TestOneThatWasToldItsTurnHoldsWhileItReadsWhoFollows(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		p := b.line(3, record.Exclusive)[0]
		p.Lead(p.Rev)
		b.slow.Store(true)
		began := time.Now()
		if p.lookBehind(); time.Since(began) > 0 {
			t.Errorf("it waits for %v", time.Since(began))
		}
		if ops := p.TellTurn(t.Context()); len(ops) == 0 || time.Since(began) == 0 {
			t.Errorf("%d operations after %v", len(ops), time.Since(began))
		}
	})
}

func TestOneThatWasToldItsTurnReadsNobodyOnceTheProcessEnds(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		p := b.line(3, record.Exclusive)[0]
		p.Lead(p.Rev)
		b.cfg.Spawn = func(func()) bool { return false }
		if p.lookBehind(); len(p.TellTurn(t.Context())) > 0 {
			t.Error("it tells another its turn")
		}
	})
}

func TestOneThatIsNotTheFirstTellsNoTurn(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		all := b.line(Nearby+4, record.Exclusive)
		p := all[Nearby+2]
		b.at(p, 0, all[Nearby+1])
		if ops := p.TellTurn(t.Context()); len(ops) > 0 {
			t.Error("it tells another its turn")
		}
	})
}

func TestWhoHasGoneIsNotToldItsTurn(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		all := b.line(3, record.Exclusive)
		b.at(all[0], 0, nil)
		b.delete(all[1])
		b.leave(all[0])
		b.at(all[2], 0, nil)
		if resp, err := b.Other.Get(t.Context(), all[1].Name); err != nil || len(resp.Kvs) > 0 {
			t.Errorf("%v, %v", resp.Kvs, err)
		}
	})
}

// Perhaps it was told its turn, and does not hear it any more.
func TestWhoHearsThatTheNearestIsGoneDoesNotWaitForAWatch(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		all := b.line(Nearby+3, record.Exclusive)
		p := all[Nearby+2]
		if err := p.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		v := p.view()
		defer v.close()
		time.Sleep(time.Second) // the watches are in place
		b.deaf.Store(true)
		b.delete(all[Nearby+1])
		synctest.Wait()
		b.Sim.BreakWatches()
		time.Sleep(time.Second)
		if now, _ := p.consult(v); now != uncertain {
			t.Errorf("the outlook is %d", now)
		}
	})
}

// A call ends when its caller's context says, though etcd is silent.
func TestWhoGoesDoesNotWaitToHearWhoFollowsOnceItsCallerIsDone(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		p := b.line(3, record.Exclusive)[0]
		p.Lead(p.Rev)
		b.lost.Store(1)
		over := make(chan time.Duration, 1)
		b.cfg.Spawn = func(read func()) bool {
			return b.Spawn(func() {
				began := time.Now()
				read()
				over <- time.Since(began)
			})
		}
		p.lookBehind()
		ctx, cancel := context.WithTimeout(t.Context(), behindPatience/2)
		defer cancel()
		began := time.Now()
		if ops := p.TellTurn(ctx); len(ops) > 0 || time.Since(began) != behindPatience/2 {
			t.Errorf("%d operations after %v", len(ops), time.Since(began))
		}
		began = time.Now()
		if ops := p.TellTurn(t.Context()); len(ops) > 0 || time.Since(began) > 0 {
			t.Errorf("%d operations after %v", len(ops), time.Since(began))
		}
		time.Sleep(time.Minute)
		select {
		case took := <-over:
			if took > 5*time.Second {
				t.Errorf("the read took %v", took)
			}
		default:
			t.Error("the read waits for its answer without end")
		}
	})
}

// The context of a function that releases its own lock ends with that.
func TestWhoReleasesItsOwnLockWaitsToHearWhoFollows(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		p := b.line(3, record.Exclusive)[0]
		p.Lead(p.Rev)
		b.slow.Store(true)
		p.lookBehind()
		own, release := context.WithCancel(t.Context())
		release()
		g := &xctx.Grace{Caller: own, Limit: t.Context(), Outliver: bound{t.Context()}}
		defer g.Stop()
		if ops := p.TellTurn(g); len(ops) == 0 {
			t.Error("it tells nobody")
		}
	})
}

// A bound is the context that bounds a function.
type bound struct{ context.Context }

func (b bound) Outlives(context.Context) context.Context { return b.Context }
