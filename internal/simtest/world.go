package simtest

import (
	"fmt"
	"sync"
	"time"

	"github.com/phpgao/elock/internal/etcdsim"
)

// A World is one run: a cluster, processes that use it, and what has happened.
type World struct {
	Dice     // of the goroutine that makes the run, and of its faults
	Seed     uint64
	Sim      *etcdsim.Sim
	Profile  Profile
	Operator *etcdsim.Client // a client beside those of the processes
	Began    time.Time
	End      time.Time       // when the work and the faults stop
	Anyone   func() *Process // picks the process that a fault is to hit
	closing  bool            // all has been played and judged; only the clients are left

	Mu        sync.Mutex // guards what follows, and what a simulation adds
	Faults    int        // how many there were
	Crashes   int
	processes []*Process // all that there ever were
	history   []string
	failures  []string
}

// Logf adds a line to the history.
func (w *World) Logf(format string, args ...any) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	w.Log(format, args...)
}

// Log is Logf for a caller that holds Mu.
func (w *World) Log(format string, args ...any) {
	w.history = append(w.history, fmt.Sprintf("%10.3fs  ", time.Since(w.Began).Seconds())+fmt.Sprintf(format, args...))
}

// Failf fails the run, which goes on.
func (w *World) Failf(format string, args ...any) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	w.Fail(format, args...)
}

// Fail is Failf for a caller that holds Mu.
func (w *World) Fail(format string, args ...any) {
	w.Log("FAILURE: "+format, args...)
	w.failures = append(w.failures, fmt.Sprintf(format, args...))
}
