package guard_test

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/locker"
)

// A profile is what may go wrong in a run.
type profile int

const (
	calm    profile = iota // messages take time, and nothing goes wrong but what operators and strangers do
	lossy                  // messages are lost or late, and whoever sent them is told
	network                // messages are lost, late and cut off
	cluster                // etcd loses its leader, compacts, breaks watches, and its lease clock is fast
	storm                  // all of that
	profiles
)

// plan returns how messages travel.
func (w *world) plan() etcdsim.Plan {
	f := etcdsim.Faults{MinDelay: 50 * time.Microsecond, MaxDelay: 5 * time.Millisecond}
	if w.profile == lossy {
		f.LoseRequest, f.LoseAnswer = 0.03, 0.03
		f.Late, f.MaxLate = 1, w.span(time.Second, 10*time.Second)
	}
	if w.profile == network || w.profile == storm {
		f.MaxDelay = w.span(5*time.Millisecond, 500*time.Millisecond)
		f.LoseRequest, f.LoseAnswer = w.Float64()*0.05, w.Float64()*0.05
		f.Late, f.MaxLate = 0.5, w.span(time.Millisecond, 10*time.Second)
		f.Hang = w.Float64()
	}
	return f.Plan()
}

// torment causes faults until the work stops.
func (w *world) torment() {
	kinds := []func(){w.vandalize, w.trespass}
	if w.profile == network || w.profile == storm {
		kinds = append(kinds, w.cut, w.pause, w.breakStreams)
	}
	if w.profile == cluster || w.profile == storm {
		kinds = append(kinds, w.loseLeader, w.compact, w.sim.BreakWatches, w.hurryLeases)
	}
	for {
		time.Sleep(w.span(time.Millisecond, 5*time.Second))
		if time.Now().After(w.end) {
			return
		}
		w.mu.Lock()
		w.tally.Faults++
		w.mu.Unlock()
		kinds[w.IntN(len(kinds))]()
	}
}

// vandalize deletes an entry of a queue by hand.
func (w *world) vandalize() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	resp, err := w.operator.Get(ctx, "/"+locker.DefaultPrefix+"/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return
	}
	entries := slices.DeleteFunc(resp.Kvs, func(kv *mvccpb.KeyValue) bool { return w.isList(string(kv.Key)) })
	if len(entries) == 0 {
		return
	}
	kv := entries[w.IntN(len(entries))]
	w.logf("fault: %s is deleted by hand", kv.Key)
	_, _ = w.operator.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(string(kv.Key)), "=", kv.CreateRevision)).
		Then(clientv3.OpDelete(string(kv.Key))).Commit()
}

func (w *world) isList(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.lists[name]
	return ok
}

// trespass appends to a list without its lock.
func (w *world) trespass() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	name := w.keys[w.IntN(len(w.keys))].ValuePath(locker.DefaultPrefix)
	resp, err := w.operator.Get(ctx, name)
	if err != nil {
		return
	}
	var list []int
	rev := int64(0)
	if len(resp.Kvs) > 0 {
		rev = resp.Kvs[0].ModRevision
		if err := json.Unmarshal(resp.Kvs[0].Value, &list); err != nil {
			panic(err)
		}
	}
	w.mu.Lock()
	w.attempts = append(w.attempts, attempt{names: []string{name}, outcome: unknown})
	data, _ := json.Marshal(append(list, len(w.attempts)))
	w.log("fault: a stranger writes %s to %s", data, name)
	w.mu.Unlock()
	_, _ = w.operator.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(name), "=", rev)).
		Then(clientv3.OpPut(name, string(data))).Commit()
}

func (w *world) anyone() *process { return w.procs[w.IntN(len(w.procs))] }

func (w *world) cut() {
	p, d := w.anyone(), w.span(time.Millisecond, 30*time.Second)
	w.logf("fault: %s is cut off for %v", p.name, d)
	p.client.Partition()
	time.Sleep(d)
	p.client.Heal()
}

func (w *world) pause() {
	p, d := w.anyone(), w.span(time.Millisecond, 10*time.Second)
	w.logf("fault: the messages of %s stand still for %v", p.name, d)
	p.client.Pause(d)
}

func (w *world) breakStreams() { w.anyone().client.BreakStreams() }

func (w *world) loseLeader() {
	d := w.span(time.Millisecond, 10*time.Second)
	w.logf("fault: no leader for %v", d)
	w.sim.LoseLeader(d)
}

func (w *world) compact() {
	w.logf("fault: compaction")
	w.mu.Lock()
	w.gaps = true
	w.mu.Unlock()
	w.sim.Compact()
}

func (w *world) hurryLeases() { w.sim.SetLeaseClock(float64(w.IntN(8))) }

// calmDown ends all faults.
func (w *world) calmDown() {
	w.sim.SetPlan(nil)
	w.sim.SetLeaseClock(0)
	for _, p := range w.procs {
		p.client.Heal()
	}
	time.Sleep(time.Minute) // pauses, leaderless times and late messages end by themselves
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calm = true
}
