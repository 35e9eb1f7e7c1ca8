package guard_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

var tokens = flag.Bool("tokens", true, "tokens die in the simulation")

// Every update appends a number of its own to one or several lists, and some calls
// delete a list. What is acknowledged was appended to each of its lists once, what
// failed to none, and what was reported unknown to all or none. A list that was
// deleted reads as not stored.
//
//	go test ./guard -run Simulation -seeds=10000
//	go test ./guard -run Simulation -seed=42 -v
func TestSimulationOfUpdatesUnderRandomFaults(t *testing.T) {
	var total tally
	many := simtest.Seeds(t, "./guard -run Simulation", func(seed uint64) *simtest.World {
		w := simulate(t, seed)
		total.add(w.tally)
		return w.World
	})
	t.Logf("%+v", total)
	if many && (total.Done == 0 || total.Deleted == 0 || total.Fenced == 0 || total.Unknown == 0 || total.Failed == 0 || total.Watched == 0) {
		t.Error("something never happened")
	}
}

// A tally says how much a run has tried.
type tally struct{ Done, Deleted, Failed, Fenced, Unknown, Gets, Watched int }

func (n *tally) add(m tally) {
	n.Done += m.Done
	n.Deleted += m.Deleted
	n.Failed += m.Failed
	n.Fenced += m.Fenced
	n.Unknown += m.Unknown
	n.Gets += m.Gets
	n.Watched += m.Watched
}

// A world is one run.
type world struct {
	*simtest.World
	procs   []*process
	keys    []keyspace.Key
	watches sync.WaitGroup
	alone   float64 // how likely an update goes without its lock

	// Guarded by Mu.
	lists    map[string][]version // what each was in etcd, by the value's key there; the last is what it is
	attempts []attempt            // by the number that they append, less one
	strange  map[string]int       // how often each was perhaps changed by a stranger
	gaps     bool                 // watches may leave something out: etcd forgets, or connections die without an error
	calm     bool                 // the faults are over
	tally    tally
}

// A version is a list as of a revision of etcd.
type version struct {
	rev    int64
	stored bool
	list   []int
}

// shows reports whether v is what the guard says.
func (v version) shows(got guard.Version[[]int]) bool {
	return v.stored == got.Stored() && slices.Equal(v.list, got.Value) && (!v.stored || v.rev == got.Revision)
}

// An attempt is one update of however many lists, or a deletion of one.
type attempt struct {
	names    []string
	deletes  bool
	stranger bool // it is by one without the lock
	strange  int  // how often its lists had been changed by strangers when it began
	outcome  outcome
	appended []string // the lists that it was appended to
}

type outcome string

const (
	done    outcome = "done"
	failed  outcome = "failed"
	unknown outcome = "unknown"
)

// committed is told of every change in etcd, before anybody can see it: a list
// grows by one number at a time, which was not appended to it before, or is deleted.
func (w *world) committed(rev int64, events []*mvccpb.Event) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	for _, ev := range events {
		name := string(ev.Kv.Key)
		all, ours := w.lists[name]
		if !ours {
			continue
		}
		if ev.Type == mvccpb.DELETE {
			w.Log("etcd: %s is deleted at revision %d", name, rev)
			w.lists[name] = append(all, version{rev: rev})
			w.strange[name]++ // it is not known who it was
			continue
		}
		old := all[len(all)-1].list
		var list []int
		if err := json.Unmarshal(ev.Kv.Value, &list); err != nil || len(list) != len(old)+1 || !slices.Equal(list[:len(old)], old) {
			w.Fail("%s was %v and is now %s", name, old, ev.Kv.Value)
			continue
		}
		id := list[len(old)]
		w.Log("etcd: %s has %d at revision %d", name, id, rev)
		w.lists[name] = append(all, version{rev, true, list})
		a := &w.attempts[id-1]
		if slices.Contains(a.appended, name) {
			w.Fail("%d is appended to %s a second time", id, name)
		}
		a.appended = append(a.appended, name)
		if a.stranger {
			w.strange[name]++
		}
	}
}

// simulate makes the world of a seed and lets it go its way.
func simulate(t *testing.T, seed uint64) (w *world) {
	simtest.Play(t, seed, func(base *simtest.World) {
		w = &world{World: base, lists: make(map[string][]version), strange: make(map[string]int)}
		w.Anyone = func() *simtest.Process { return w.procs[w.IntN(len(w.procs))].Process }
		w.gaps = w.Profile.CutsOff()
		w.End = w.Began.Add(w.Span(5*time.Second, time.Minute))
		if *tokens {
			w.Sim.RequireTokens(w.Span(time.Second, 10*time.Second), w.Chance(0.5))
		}
		w.Sim.SetPlan(w.plan())
		w.alone = []float64{0, 0.5, 1}[w.IntN(3)]
		for i := range 1 + w.IntN(3) {
			k := numbers.Key(i)
			w.keys = append(w.keys, k)
			w.lists[k.ValuePath(locker.DefaultPrefix)] = []version{{}}
		}
		w.Sim.OnCommit(w.committed)
		for i := range 2 + w.IntN(2) {
			w.procs = append(w.procs, w.newProcess(fmt.Sprintf("p%d", i)))
		}
		var wg sync.WaitGroup
		workers := uint64(0)
		for _, p := range w.procs {
			for range 1 + w.IntN(3) {
				workers++
				wg.Go(worker{p, simtest.NewDice(seed, workers)}.work)
			}
		}
		wg.Go(w.torment)
		wg.Wait()
		w.CalmDown()
		w.Mu.Lock()
		w.calm = true
		w.Mu.Unlock()
		for _, p := range w.procs {
			p.stop()
		}
		w.watches.Wait()
		// Close of etcd's client hangs if a watch is refused just then, so what
		// is on its way arrives first.
		time.Sleep(time.Minute) // virtual
		w.settle()
	})
	return w
}

// begin notes an attempt, and returns its number. Mu is held.
func (w *world) begin(a attempt) int {
	a.outcome, a.strange = unknown, w.changedByStrangers(a.names)
	w.attempts = append(w.attempts, a)
	return len(w.attempts)
}

func (w *world) changedByStrangers(names []string) (n int) {
	for _, name := range names {
		n += w.strange[name]
	}
	return n
}

// settle checks that each list got what it must have got, and was not deleted by a
// call that says that it failed.
func (w *world) settle() {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	mayDelete := make(map[string]int)
	for i, a := range w.attempts {
		switch in := len(a.appended); {
		case a.deletes && a.outcome != failed:
			mayDelete[a.names[0]]++
		case a.deletes:
		case in != 0 && in != len(a.names) || a.outcome == done && in == 0 || a.outcome == failed && in != 0:
			w.Fail("%d was %s, and was appended to %v of %v", i+1, a.outcome, a.appended, a.names)
		}
	}
	for name, all := range w.lists {
		deletions := 0
		for _, v := range all[1:] {
			if !v.stored {
				deletions++
			}
		}
		if deletions > mayDelete[name] {
			w.Fail("%s was deleted %d times, by %d calls", name, deletions, mayDelete[name])
		}
	}
}

// list is a guard of a list.
func list(l *locker.Locker, k keyspace.Key, opts ...guard.Option[[]int]) *guard.Guard[[]int] {
	return guard.New(l, k, append(opts, guard.Stored(guard.JSON[[]int]()))...)
}
