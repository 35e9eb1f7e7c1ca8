//go:build race

package simulation_test

import "runtime"

// With several processors the race detector itself crashes now and then in a bubble with many timers, see golang/go#78156. It
// finds races without them, too: by what is ordered, not by what happens at once.
func init() { runtime.GOMAXPROCS(1) }
