package simulation_test

import (
	"context"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"path"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
)

// A profile is what may go wrong in a run.
type profile int

const (
	calm    profile = iota // messages take time, and nothing goes wrong but what operators do
	lossy                  // messages are lost or late, and whoever sent them is told
	network                // messages are lost, late and cut off
	cluster                // etcd loses its leader, compacts, breaks watches, and its lease clock is fast
	storm                  // all of that
	profiles
)

// patience is how long the first in a queue may go without a hold; 0: a fault may make it any time.
func (p profile) patience() time.Duration {
	switch p {
	case calm:
		return 2 * time.Second
	case lossy:
		return 15 * time.Second
	}
	return 0
}

// keys is how many locks there are at most. An entry left behind shows where its process does not soon come to the same lock
// again.
func (p profile) keys() int {
	if p == lossy {
		return 8
	}
	return 3
}

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
	kinds := []func(){w.vandalize}
	if w.profile == network || w.profile == storm {
		kinds = append(kinds, w.cut, w.pause, w.breakStreams)
	}
	if w.profile == cluster || w.profile == storm {
		kinds = append(kinds, w.loseLeader, w.compact, w.breakWatches, w.hurryLeases)
	}
	for {
		time.Sleep(w.span(time.Millisecond, 10*time.Second))
		if time.Now().After(w.end) {
			return
		}
		w.mu.Lock()
		w.stats.faults++
		w.mu.Unlock()
		kinds[w.IntN(len(kinds))]()
	}
}

// vandalize deletes some entry, of a holder or a waiter.
func (w *world) vandalize() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	entries, err := w.entries(ctx)
	if err != nil || len(entries) == 0 {
		return
	}
	kv := entries[w.IntN(len(entries))]
	w.mu.Lock()
	e := entry{path.Dir(string(kv.Key)), kv.CreateRevision}
	w.place(e).vandal = true
	w.log("fault: entry %v is deleted by hand", e)
	w.mu.Unlock()
	_, _ = w.operator.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(string(kv.Key)), "=", kv.CreateRevision)).
		Then(clientv3.OpDelete(string(kv.Key))).Commit()
}

// entries returns all that queue for a lock. What is there besides is values.
func (w *world) entries(ctx context.Context) ([]*mvccpb.KeyValue, error) {
	resp, err := w.operator.Get(ctx, "/elock/", clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(resp.Kvs, func(kv *mvccpb.KeyValue) bool { return kv.Lease == 0 }), nil
}

func (w *world) anyone() *process { return w.procs[w.IntN(len(w.procs))] }

func (w *world) cut() {
	p, d := w.anyone(), w.span(time.Millisecond, 30*time.Second)
	w.logf("fault: %s is cut off for %v", p.name, d)
	p.client.Partition()
	time.Sleep(d)
	p.client.Heal()
	w.logf("fault: %s is back", p.name)
}

func (w *world) pause() {
	p, d := w.anyone(), w.span(time.Millisecond, 10*time.Second)
	w.logf("fault: the messages of %s stand still for %v", p.name, d)
	p.client.Pause(d)
}

func (w *world) breakStreams() {
	p := w.anyone()
	w.logf("fault: the streams of %s break", p.name)
	p.client.BreakStreams()
}

func (w *world) loseLeader() {
	d := w.span(time.Millisecond, 10*time.Second)
	w.logf("fault: no leader for %v", d)
	w.sim.LoseLeader(d)
}

func (w *world) compact() {
	w.logf("fault: compaction")
	w.sim.Compact()
}

func (w *world) breakWatches() {
	w.logf("fault: all watches break")
	w.sim.BreakWatches()
}

func (w *world) hurryLeases() {
	percent := float64(w.IntN(8))
	w.logf("fault: leases run %v%% faster", percent)
	w.sim.SetLeaseClock(percent)
}

// calmDown ends all faults.
func (w *world) calmDown() {
	w.sim.SetPlan(nil)
	w.sim.SetLeaseClock(0)
	for _, p := range w.procs {
		p.client.Heal()
	}
	time.Sleep(time.Minute) // pauses, leaderless times and late messages end by themselves
}

// leftovers checks that nothing is left in etcd after all Lockers are closed.
func (w *world) leftovers() {
	client, ctx := w.operator, context.Background()
	check := func(what string, n int, err error) {
		if err != nil || n != 0 {
			w.failf("%d %s left, %v", n, what, err)
		}
	}
	entries, err := w.entries(ctx)
	check("entries", len(entries), err)
	time.Sleep(maxTTL + time.Minute) // leases whose grant was never answered
	leases, err := client.Leases(ctx)
	check("leases", len(leases.Leases), err)
	for _, k := range w.keys {
		for _, r := range []string{register(k), value(k)} {
			n := 0
			resp, err := client.Get(ctx, r)
			if err == nil && len(resp.Kvs) == 1 {
				n = atoi(resp.Kvs[0].Value)
			}
			if acked, unknown := w.acked[r], w.unknown[r]; err != nil || n < acked || n > acked+unknown {
				w.failf("%s is %d after %d updates and %d of unknown outcome, %v", r, n, acked, unknown, err)
			}
		}
	}
	for kind, n := range w.open {
		if n != 0 {
			w.failf("%d hooks of %s have started and not ended", n, kind)
		}
	}
}
