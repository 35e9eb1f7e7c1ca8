package once_test

import (
	"encoding/json"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/once"
)

// simTicks is how many ticks a seed has: 10,000 in all by default.
const simTicks = 50

// Nodes with skewed clocks run a job once for each tick, and die, stand still and are cut off meanwhile. No tick is marked
// twice or out of order. None is left out, as each node tries until its tick is done or too old. What is marked is what a call
// reports. With Skip, none starts twice.
//
//	go test ./once -run Simulation -seeds=10000
//	go test ./once -run Simulation -seed=42 -v
func TestSimulationOfTicksUnderRandomFaults(t *testing.T) {
	var total tally
	crashes := 0
	many := simtest.Seeds(t, "./once -run Simulation", func(seed uint64) *simtest.World {
		w := simulate(t, seed)
		total.add(w.tally)
		crashes += w.Crashes
		return w.World
	})
	t.Logf("%+v, %d crashes", total, crashes)
	if many && (total.Runs <= total.Ticks || total.Unknown == 0 || total.Lost == 0 || total.Old == 0 || crashes == 0 || total.Done == 0) {
		t.Error("something never happened")
	}
}

// A tally says how much a run has tried.
type tally struct {
	Ticks   int // that were marked
	Runs    int // of the function
	Done    int // calls that found their tick done
	Old     int // calls whose tick was too old
	Failed  int // runs that failed by themselves
	Lost    int // runs that lost their lock
	Unknown int // calls that do not know whether they have marked their tick
}

func (n *tally) add(m tally) {
	n.Ticks += m.Ticks
	n.Runs += m.Runs
	n.Done += m.Done
	n.Old += m.Old
	n.Failed += m.Failed
	n.Lost += m.Lost
	n.Unknown += m.Unknown
}

// A world is one run.
type world struct {
	*simtest.World // Began is the time of tick 0
	skip           bool
	every          time.Duration // the period of the ticks
	nodes          []*node

	// Guarded by Mu.
	ticks    map[string]int          // their numbers
	marks    []mark                  // by the number of the tick
	marked   map[locker.Token]string // the tick, by the token that marked it
	unmarked map[locker.Token]bool   // runs that say they have not marked their tick
	starts   []int                   // of each tick
	tally    tally
}

// A mark is what etcd has of a tick.
type mark struct {
	Version int          `json:"v"`
	Tick    string       `json:"tick"`
	Token   locker.Token `json:"token"`
}

// committed is told of every change in etcd, before anybody can see it: the marker goes from each tick to the next.
func (w *world) committed(rev int64, events []*mvccpb.Event) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	for _, ev := range events {
		if string(ev.Kv.Key) != path {
			continue
		}
		var m mark
		err := json.Unmarshal(ev.Kv.Value, &m)
		n, known := w.ticks[m.Tick]
		w.Log("etcd: the marker is %s at revision %d", ev.Kv.Value, rev)
		switch {
		case ev.Type == clientv3.EventTypeDelete || err != nil || !known || m.Version != 1:
			w.Fail("the marker is %s", ev.Kv.Value)
			continue
		case n < len(w.marks):
			w.Fail("tick %d is marked again, after %d", n, len(w.marks)-1)
		case n > len(w.marks):
			w.Fail("tick %d is marked after %d: some were lost", n, len(w.marks)-1)
		case n > 0 && m.Token <= w.marks[n-1].Token:
			w.Fail("tick %d has token %d, tick %d has %d", n, m.Token, n-1, w.marks[n-1].Token)
		case w.unmarked[m.Token]:
			w.Fail("tick %d is marked by a run that said it is not", n)
		}
		w.marks = append(w.marks, m)
		w.marked[m.Token] = m.Tick
		w.tally.Ticks++
	}
}

// simulate makes the world of a seed and lets it go its way.
func simulate(t *testing.T, seed uint64) (w *world) {
	simtest.Play(t, seed, func(base *simtest.World) {
		w = &world{
			World:    base,
			skip:     seed/uint64(simtest.Profiles)%2 == 1,
			ticks:    make(map[string]int),
			marked:   make(map[locker.Token]string),
			unmarked: make(map[locker.Token]bool),
			starts:   make([]int, simTicks),
		}
		w.Anyone = func() *simtest.Process { return w.nodes[w.IntN(len(w.nodes))].process().Process }
		w.every = w.Span(time.Second, 10*time.Second).Round(time.Millisecond)
		w.Began = time.Now().Add(10 * w.every).Round(w.every)
		w.End = w.Began.Add(simTicks * w.every)
		for n := range simTicks {
			w.ticks[once.At(w.Began.Add(time.Duration(n)*w.every), w.every)] = n
		}
		w.Sim.SetPlan(w.plan())
		w.Sim.OnCommit(w.committed)
		var wg sync.WaitGroup
		for i := range uint64(2 + w.IntN(2)) {
			n := w.newNode(seed, i)
			w.nodes = append(w.nodes, n)
			wg.Go(n.live)
		}
		wg.Go(w.torment)
		wg.Wait()
		time.Sleep(time.Minute) // virtual: what is on its way arrives
		w.settle()
		w.CalmDown()
	})
	return w
}

// settle checks what can be known only at the end.
func (w *world) settle() {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	if len(w.marks) != simTicks {
		w.Fail("%d ticks are marked, of %d", len(w.marks), simTicks)
	}
	unstarted := 0
	for n, starts := range w.starts {
		if w.skip && starts > 1 || !w.skip && starts == 0 {
			w.Fail("tick %d was started %d times", n, starts)
		}
		if starts == 0 {
			unstarted++
		}
	}
	if unstarted > w.tally.Unknown+w.Crashes {
		w.Fail("%d ticks were never started", unstarted)
	}
}
