//go:build race

package simtest

import "runtime"

// The race detector makes a seed some ten times as slow, and finds a race in one of the first or in none.
const defaultSeeds = 100

// oneProcessor has the seeds run on one, and returns what ends that. With several, the race detector itself crashes now and then in
// a bubble with many timers, see golang/go#78156. It finds races without them, too: by what is ordered, not by what happens at once.
func oneProcessor() (end func()) {
	n := runtime.GOMAXPROCS(1)
	return func() { runtime.GOMAXPROCS(n) }
}
