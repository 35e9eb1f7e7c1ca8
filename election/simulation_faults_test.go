package election_test

import (
	"time"

	"github.com/phpgao/elock/internal/etcdsim"
)

// plan returns how messages travel.
func (w *world) plan() etcdsim.Plan {
	f := w.Messages()
	if w.Profile.Shakes() {
		w.Refuse(&f)
	}
	return f.Plan()
}

// torment causes faults until the end, and ends them. Processes are killed in every profile.
func (w *world) torment() {
	kinds := []func(){w.rest, w.kill}
	if w.Profile.CutsOff() {
		kinds = append(kinds, w.Cut, w.Pause, w.BreakStreams)
	}
	if w.Profile.Shakes() {
		kinds = append(kinds, w.LoseLeader, w.compact, w.BreakWatches, w.HurryLeases, w.Fill, w.vandalize)
	}
	w.Torment(5*time.Second, kinds...)
	// Without any delay, a change could be seen before OnCommit is told.
	w.Sim.SetPlan(etcdsim.Faults{MinDelay: 50 * time.Microsecond, MaxDelay: time.Millisecond}.Plan())
	w.Sim.SetLeaseClock(0)
}

func (w *world) rest() {}

func (w *world) compact() {
	w.Mu.Lock()
	w.compacted = true
	w.Mu.Unlock()
	w.Compact()
}

func (w *world) vandalize() { w.Vandalize(key) }

func (w *world) kill() { w.anyone().crash() }
