package simulation_test

import (
	"flag"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

var (
	seeds = flag.Int("seeds", 200, "how many seeds to run")
	first = flag.Uint64("first", 1, "the first of them")
	one   = flag.Uint64("seed", 0, "the only seed to run; its history is logged")
)

func TestLocksKeepTheirPromisesUnderRandomFaults(t *testing.T) {
	if *one != 0 {
		w := run(t, *one)
		t.Logf("history of seed %d:\n%s", *one, strings.Join(w.history, "\n"))
		report(t, *one, w)
		return
	}
	var total stats
	var virtual time.Duration
	began := time.Now()
	for seed := *first; seed < *first+uint64(*seeds); seed++ {
		w := run(t, seed)
		report(t, seed, w)
		virtual += w.end.Sub(w.began)
		total.grants += w.stats.grants
		total.waits += w.stats.waits
		total.losses += w.stats.losses
		total.timeouts += w.stats.timeouts
		total.updates += w.stats.updates
		total.faults += w.stats.faults
		if t.Failed() {
			return
		}
	}
	t.Logf("%d seeds, %v of virtual time in %v: %+v", *seeds, virtual.Round(time.Minute), time.Since(began).Round(time.Second), total)
}

func report(t *testing.T, seed uint64, w *world) {
	if len(w.failures) == 0 {
		return
	}
	tail := w.history[max(0, len(w.history)-60):]
	for i, line := range w.history { // up to a little after the first failure
		if strings.Contains(line, "FAILURE") {
			tail = w.history[max(0, i-60):min(len(w.history), i+5)]
			break
		}
	}
	t.Errorf("seed %d: %s\nreplay: go test ./internal/simulation -seed=%d -v -count=5\n%s",
		seed, strings.Join(w.failures, "; "), seed, strings.Join(tail, "\n"))
}

// run makes the world of a seed and lets it go its way.
func run(t *testing.T, seed uint64) (w *world) {
	stuck := time.AfterFunc(time.Minute, func() { panic(fmt.Sprintf("seed %d: it does not end", seed)) }) // in real time
	defer stuck.Stop()
	synctest.Test(t, func(t *testing.T) {
		w = &world{
			dice:    newDice(seed, 0),
			seed:    seed,
			sim:     etcdsim.New(seed),
			profile: profile(seed % uint64(profiles)),
			began:   time.Now(),
			queues:  make(map[string][]entry),
			places:  make(map[entry]*place),
			tokens:  make(map[string]locker.Token),
			alone:   make(map[string]locker.Token),
			open:    make(map[string]int),
			acked:   make(map[string]int),
			unknown: make(map[string]int),
		}
		defer w.sim.Close()
		w.end = w.began.Add(time.Duration(1+w.IntN(5)) * time.Minute)
		w.operator = w.sim.NewClient("operator")
		w.sim.OnCommit(w.committed)
		w.sim.SetPlan(w.plan())
		for i := range 1 + w.IntN(w.profile.keys()) {
			w.keys = append(w.keys, keyspace.MustNew[int]("k").Key(i))
		}
		for i := range 2 + w.IntN(3) {
			w.procs = append(w.procs, w.newProcess(fmt.Sprintf("p%d", i)))
		}
		var wg sync.WaitGroup
		workers := uint64(0)
		for _, p := range w.procs {
			for range 1 + w.IntN(4) {
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
		w.leftovers()
	})
	return w
}
