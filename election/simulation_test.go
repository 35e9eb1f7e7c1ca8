package election_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/locker"
)

// Nodes run an election, announce values, resign, hand over, fail, die, stand still and are cut off. Never do two say that they
// are the leader. What observers see is what etcd had, in its order, and they miss nothing that is not compacted.
//
//	go test ./election -run Simulation -seeds=10000
//	go test ./election -run Simulation -seed=42 -v
func TestSimulationOfElectionsUnderRandomFaults(t *testing.T) {
	var total tally
	crashes := 0
	many := simtest.Seeds(t, "./election -run Simulation", func(seed uint64) *simtest.World {
		w := simulate(t, seed)
		total.add(w.tally)
		crashes += w.Crashes
		return w.World
	})
	t.Logf("%+v, %d crashes", total, crashes)
	if many && (total.Lost == 0 || total.Proclaimed == 0 || total.HandedOver == 0 || total.Vacancies == 0 || total.Unknown == 0 || crashes == 0) {
		t.Error("something never happened")
	}
}

// A tally says how much a run has tried.
type tally struct {
	Terms, Lost, Resigned, HandedOver, NoCandidate int
	Proclaimed, Unknown                            int
	Observed, Vacancies, LeftOut                   int
}

func (n *tally) add(m tally) {
	n.Terms += m.Terms
	n.Lost += m.Lost
	n.Resigned += m.Resigned
	n.HandedOver += m.HandedOver
	n.NoCandidate += m.NoCandidate
	n.Proclaimed += m.Proclaimed
	n.Unknown += m.Unknown
	n.Observed += m.Observed
	n.Vacancies += m.Vacancies
	n.LeftOut += m.LeftOut
}

// A world is one run.
type world struct {
	*simtest.World
	nodes []*node

	// Guarded by Mu.
	entries   []*mvccpb.KeyValue // the queue in etcd
	heads     []sight            // who led, in etcd's order
	token     locker.Token       // of the term that began last
	compacted bool
	tally     tally
}

// A sight is what there is to be seen from a revision on.
type sight struct {
	rev     int64
	token   locker.Token
	value   string
	created int64 // the revisions of the leader's key
	written int64
}

// committed is told of every change in etcd, before anybody can see it.
func (w *world) committed(rev int64, events []*mvccpb.Event) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	for _, ev := range events {
		if !strings.HasPrefix(string(ev.Kv.Key), key.Path(locker.DefaultPrefix)) {
			continue
		}
		i := slices.IndexFunc(w.entries, func(kv *mvccpb.KeyValue) bool { return string(kv.Key) == string(ev.Kv.Key) })
		if i >= 0 && ev.Type == clientv3.EventTypePut && w.entries[i].CreateRevision == ev.Kv.CreateRevision {
			w.entries[i] = ev.Kv
			continue
		}
		if i >= 0 {
			w.entries = slices.Delete(w.entries, i, i+1)
		}
		if ev.Type == clientv3.EventTypePut {
			w.entries = append(w.entries, ev.Kv)
		}
	}
	now := sight{rev: rev}
	if len(w.entries) > 0 { // create revisions grow
		kv := w.entries[0]
		var record struct {
			Announcement string
		}
		if err := json.Unmarshal(kv.Value, &record); err != nil {
			w.Fail("%s is not a record", kv.Value)
		}
		now = sight{rev, locker.Token(kv.CreateRevision) << 16, record.Announcement, kv.CreateRevision, kv.ModRevision}
	}
	last := w.heads[len(w.heads)-1]
	if now.created != last.created || now.written != last.written {
		w.Log("etcd: revision %d: leader %q, token %d", rev, now.value, now.token)
		w.heads = append(w.heads, now)
	}
}

// observed checks what an observer sees after it saw the sight number last, -1 at first, and returns the number of this one.
func (w *world) observed(name string, last int, l leader) int {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	w.tally.Observed++
	if l.Vacant() {
		w.tally.Vacancies++
	}
	w.Log("%s: observes %q, token %d, as of revision %d", name, l.Value, l.Token, l.Revision)
	i := len(w.heads) - 1
	for i > 0 && w.heads[i].rev > l.Revision {
		i--
	}
	switch h := w.heads[i]; {
	case l.Token != h.token || l.Value != h.value:
		w.Fail("%s: observes %+v, and it was %+v", name, l, h)
	case last >= 0 && i <= last:
		w.Fail("%s: observes %+v again or too late", name, l)
	case last >= 0 && i > last+1 && !w.compacted:
		w.Fail("%s: has missed %+v", name, w.heads[last+1:i])
	case last >= 0 && i > last+1:
		w.tally.LeftOut++
	}
	return i
}

// alone checks that nobody but p is the leader, and is for a caller that holds mu.
func (w *world) alone(p *process) {
	if !w.Profile.Safe() {
		return
	}
	for _, n := range w.nodes {
		for _, q := range n.all() {
			if q != p && q.e.IsLeader() {
				w.Fail("%s leads, and %s too", p.Name, q.Name)
			}
		}
	}
}

// anyone returns a process of any node.
func (w *world) anyone() *process { return w.nodes[w.IntN(len(w.nodes))].process() }

// simulate makes the world of a seed and lets it go its way.
func simulate(t *testing.T, seed uint64) (w *world) {
	simtest.Play(t, seed, func(base *simtest.World) {
		w = &world{World: base, heads: []sight{{}}}
		w.Anyone = func() *simtest.Process { return w.anyone().Process }
		w.End = w.Began.Add(w.Span(time.Minute, 4*time.Minute))
		w.Sim.SetPlan(w.plan())
		w.Sim.OnCommit(w.committed)
		for i := range uint64(2 + w.IntN(3)) {
			w.nodes = append(w.nodes, &node{w: w, name: fmt.Sprint("n", i), Dice: simtest.NewDice(seed, 1+i), id: seed})
		}
		for _, n := range w.nodes {
			n.start()
		}
		observing, stop := context.WithCancel(context.Background())
		var observers, wg sync.WaitGroup
		for _, n := range w.nodes {
			observers.Go(func() { n.observe(observing) })
			wg.Go(n.live)
		}
		wg.Go(w.torment)
		wg.Wait()
		time.Sleep(time.Minute) // what is on its way arrives, and dead leases end
		w.settle()
		stop()
		observers.Wait()
		for _, n := range w.nodes {
			for _, p := range n.procs {
				_ = p.l.Close()
			}
		}
		w.CalmDown()
	})
	return w
}

// settle checks what can be known only at the end.
func (w *world) settle() {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	if last := w.heads[len(w.heads)-1]; last.token != 0 {
		w.Fail("at the end, %+v leads", last)
	}
	if w.tally.Terms == 0 {
		w.Fail("nobody ever led")
	}
	for _, n := range w.nodes {
		if !n.process().Dead.Load() && !n.sawEnd {
			w.Fail("%s has not observed the last vacancy", n.name)
		}
	}
}
