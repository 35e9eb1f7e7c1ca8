package once_test

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

// torment causes faults until the last tick, and ends them.
func (w *world) torment() {
	if w.Profile.CutsOff() || w.Profile.Shakes() {
		w.Torment(5*time.Second, w.kinds()...)
	}
	w.Sim.SetPlan(nil)
	w.Sim.SetLeaseClock(0)
}

func (w *world) kinds() (kinds []func()) {
	if w.Profile.CutsOff() {
		kinds = append(kinds, w.Cut, w.Pause, w.BreakStreams, w.kill)
	}
	if w.Profile.Shakes() {
		kinds = append(kinds, w.LoseLeader, w.Compact, w.BreakWatches, w.HurryLeases, w.Fill, w.vandalize)
	}
	return kinds
}

func (w *world) vandalize() { w.Vandalize(key) }

func (w *world) kill() { w.Crash(w.Anyone()) }
