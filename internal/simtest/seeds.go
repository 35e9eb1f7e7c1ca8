package simtest

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phpgao/elock/internal/etcdsim"
)

var (
	seeds = flag.Int("seeds", defaultSeeds, "how many seeds of the simulation to run")
	first = flag.Uint64("first", 1, "the first of them")
	one   = flag.Uint64("seed", 0, "the only seed to run; its history is logged")
)

// Seeds plays the seeds that the flags ask for, until one fails, and says how to replay that with go test and these arguments. It
// reports whether they are so many that each thing that can happen must have happened.
func Seeds(t *testing.T, replay string, play func(seed uint64) *World) (many bool) {
	t.Helper()
	defer oneProcessor()()
	if *one != 0 {
		w := play(*one)
		t.Logf("history of seed %d:\n%s", *one, strings.Join(w.history, "\n"))
		w.report(t, replay)
		return false
	}
	var virtual time.Duration
	faults := 0
	began := time.Now()
	for seed := *first; seed < *first+uint64(*seeds); seed++ {
		w := play(seed)
		w.report(t, replay)
		virtual += w.End.Sub(w.Began)
		faults += w.Faults
		if t.Failed() {
			return false
		}
	}
	t.Logf("%d seeds, %d faults, %v of virtual time in %v", *seeds, faults, virtual.Round(time.Minute), time.Since(began).Round(time.Second))
	return *seeds >= 100
}

// report fails the test if the run has failed.
func (w *World) report(t *testing.T, replay string) {
	t.Helper()
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
	t.Errorf("seed %d: %s\nreplay: go test %s -seed=%d -v -count=5\n%s",
		w.Seed, strings.Join(w.failures, "; "), replay, w.Seed, strings.Join(tail, "\n"))
}

// stuckAfter is how long a run takes at most, in real time; most take a tenth of a second.
const stuckAfter = time.Minute

// Play runs f in a bubble of virtual time, in the world of a seed. It begins now, and ends when f says so.
func Play(t *testing.T, seed uint64, f func(w *World)) {
	t.Helper()
	stuck := time.AfterFunc(stuckAfter, func() { panic(fmt.Sprintf("seed %d: it does not end", seed)) })
	defer stuck.Stop()
	w := &World{Seed: seed}
	defer w.outlive(t)
	synctest.Test(t, func(*testing.T) {
		w.Dice = NewDice(seed, 0)
		w.Sim = etcdsim.New(seed)
		w.Profile = Profile(seed % uint64(Profiles))
		w.Began = time.Now()
		w.Operator = w.Sim.NewClient("operator")
		f(w)
		w.closing = true
		w.Sim.Close()
	})
}
