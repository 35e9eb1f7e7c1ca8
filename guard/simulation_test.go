package guard_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

var (
	seeds = flag.Int("seeds", 200, "how many seeds of the simulation to run")
	first = flag.Uint64("first", 1, "the first of them")
	one   = flag.Uint64("seed", 0, "the only seed to run; its history is logged")
)

// Every update appends a number of its own to one or several lists. What is
// acknowledged is in each of them once, what failed is in none, and what was
// reported unknown is in all or none.
//
//	go test ./guard -run Simulation -seeds=10000
//	go test ./guard -run Simulation -seed=42 -v
func TestSimulationOfUpdatesUnderRandomFaults(t *testing.T) {
	if *one != 0 {
		w := simulate(t, *one)
		t.Logf("history of seed %d:\n%s", *one, strings.Join(w.history, "\n"))
		w.report(t, *one)
		return
	}
	var total tally
	began := time.Now()
	for seed := *first; seed < *first+uint64(*seeds) && !t.Failed(); seed++ {
		w := simulate(t, seed)
		w.report(t, seed)
		total.add(w.tally)
	}
	t.Logf("%d seeds in %v: %+v", *seeds, time.Since(began).Round(time.Second), total)
	if *seeds >= 100 && (total.Done == 0 || total.Fenced == 0 || total.Unknown == 0 || total.Failed == 0 || total.Watched == 0) {
		t.Error("something never happened")
	}
}

// A tally says how much a run has tried.
type tally struct{ Done, Failed, Fenced, Unknown, Gets, Watched, Faults int }

func (n *tally) add(m tally) {
	n.Done += m.Done
	n.Failed += m.Failed
	n.Fenced += m.Fenced
	n.Unknown += m.Unknown
	n.Gets += m.Gets
	n.Watched += m.Watched
	n.Faults += m.Faults
}

// A world is one run.
type world struct {
	dice
	sim      *etcdsim.Sim
	profile  profile
	began    time.Time
	end      time.Time // when the work stops
	operator *etcdsim.Client
	procs    []*process
	keys     []keyspace.Key
	watches  sync.WaitGroup

	mu       sync.Mutex
	history  []string
	failures []string
	lists    map[string][]int // what etcd has, by the value's key in etcd
	attempts []attempt        // by the number that they append, less one
	gaps     bool             // watches may leave something out: etcd forgets, or connections die without a word
	calm     bool             // the faults are over
	tally    tally
}

// An attempt is one update, of however many lists.
type attempt struct {
	names   []string
	outcome outcome
}

type outcome string

const (
	done    outcome = "done"
	failed  outcome = "failed"
	unknown outcome = "unknown"
)

func (w *world) logf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log(format, args...)
}

// log is logf for a caller that holds mu.
func (w *world) log(format string, args ...any) {
	w.history = append(w.history, fmt.Sprintf("%10.3fs  ", time.Since(w.began).Seconds())+fmt.Sprintf(format, args...))
}

// fail is for a caller that holds mu.
func (w *world) fail(format string, args ...any) {
	w.log("FAILURE: "+format, args...)
	w.failures = append(w.failures, fmt.Sprintf(format, args...))
}

func (w *world) report(t *testing.T, seed uint64) {
	if len(w.failures) == 0 {
		return
	}
	t.Errorf("seed %d: %s\nreplay: go test ./guard -run Simulation -seed=%d -v -count=5\n%s",
		seed, strings.Join(w.failures, "; "), seed, strings.Join(w.history[max(0, len(w.history)-60):], "\n"))
}

// committed is told of every change in etcd, before anybody can see it: a list
// grows by one number at a time, which it does not have yet.
func (w *world) committed(rev int64, events []*mvccpb.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ev := range events {
		name := string(ev.Kv.Key)
		old, ours := w.lists[name]
		if !ours {
			continue
		}
		var list []int
		if err := json.Unmarshal(ev.Kv.Value, &list); err != nil || len(list) != len(old)+1 || !slices.Equal(list[:len(old)], old) ||
			slices.Contains(old, list[len(old)]) {
			w.fail("%s was %v and is now %s", name, old, ev.Kv.Value)
			continue
		}
		w.log("etcd: %s has %d at revision %d", name, list[len(old)], rev)
		w.lists[name] = list
	}
}

// simulate makes the world of a seed and lets it go its way.
func simulate(t *testing.T, seed uint64) (w *world) {
	stuck := time.AfterFunc(time.Minute, func() { panic(fmt.Sprintf("seed %d: it does not end", seed)) }) // in real time
	defer stuck.Stop()
	synctest.Test(t, func(t *testing.T) {
		w = &world{
			dice:    newDice(seed, 0),
			sim:     etcdsim.New(seed),
			profile: profile(seed % uint64(profiles)),
			began:   time.Now(),
			lists:   make(map[string][]int),
		}
		defer w.sim.Close()
		w.gaps = w.profile == network || w.profile == storm
		w.end = w.began.Add(w.span(5*time.Second, time.Minute))
		w.operator = w.sim.NewClient("operator")
		w.sim.SetPlan(w.plan())
		for i := range 1 + w.IntN(3) {
			k := numbers.Key(i)
			w.keys = append(w.keys, k)
			w.lists[k.ValuePath(locker.DefaultPrefix)] = nil
		}
		w.sim.OnCommit(w.committed)
		for i := range 2 + w.IntN(2) {
			w.procs = append(w.procs, w.newProcess(fmt.Sprintf("p%d", i)))
		}
		var wg sync.WaitGroup
		workers := uint64(0)
		for _, p := range w.procs {
			for range 1 + w.IntN(3) {
				workers++
				wg.Go(worker{p, newDice(seed, workers)}.work)
			}
		}
		wg.Go(w.torment)
		wg.Wait()
		w.calmDown()
		for _, p := range w.procs {
			p.stop()
		}
		w.watches.Wait()
		w.settle()
	})
	return w
}

// settle checks that each list has what it must have.
func (w *world) settle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, a := range w.attempts {
		in := 0
		for _, name := range a.names {
			if slices.Contains(w.lists[name], i+1) {
				in++
			}
		}
		if in != 0 && in != len(a.names) || a.outcome == done && in == 0 || a.outcome == failed && in != 0 {
			w.fail("%d was %s, and is in %d of %v", i+1, a.outcome, in, a.names)
		}
	}
}

// list is a guard of a list.
func list(l *locker.Locker, k keyspace.Key) *guard.Guard[[]int] {
	return guard.New(l, k, guard.Stored(guard.JSON[[]int]()))
}

// dice are the chance of one goroutine: if several shared it, a seed would not
// replay.
type dice struct{ *rand.Rand }

func newDice(seed, id uint64) dice { return dice{rand.New(rand.NewPCG(seed, id))} }

// span returns a random duration; short ones are as likely as long ones.
func (d dice) span(min, max time.Duration) time.Duration {
	scale := d.Float64()
	return min + time.Duration(float64(max-min)*scale*scale*scale)
}

func (d dice) chance(p float64) bool { return d.Float64() < p }
