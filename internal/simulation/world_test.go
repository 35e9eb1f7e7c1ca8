package simulation_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// A world is one run: a cluster, processes that use it, and a witness of all that happens.
type world struct {
	dice     // of whoever makes the run, and its faults
	seed     uint64
	sim      *etcdsim.Sim
	profile  profile
	began    time.Time
	end      time.Time // when the work stops
	procs    []*process
	operator *etcdsim.Client
	keys     []keyspace.Key

	mu       sync.Mutex
	history  []string
	failures []string
	queues   map[string][]entry      // of each lock in etcd, by its directory
	places   map[entry]*place        // of all entries there ever were
	tokens   map[string]locker.Token // the highest of each key
	alone    map[string]locker.Token // and of those that were not shared
	open     map[string]int          // hook spans that have started and not ended
	acked    map[string]int          // fenced updates of each register that etcd confirmed
	unknown  map[string]int          // and those of unknown outcome
	stats    stats
}

// stats say how much a run has tried.
type stats struct{ grants, waits, losses, timeouts, updates, faults int }

func (w *world) logf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log(format, args...)
}

// log is logf for a caller that holds mu.
func (w *world) log(format string, args ...any) {
	w.history = append(w.history, fmt.Sprintf("%10.3fs  ", time.Since(w.began).Seconds())+fmt.Sprintf(format, args...))
}

func (w *world) failf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail(format, args...)
}

// fail is failf for a caller that holds mu.
func (w *world) fail(format string, args ...any) {
	w.log("FAILURE: "+format, args...)
	w.failures = append(w.failures, fmt.Sprintf(format, args...))
}

// dice are the chance of one goroutine: if several shared it, a seed would not replay.
type dice struct{ *rand.Rand }

func newDice(seed, id uint64) dice { return dice{rand.New(rand.NewPCG(seed, id))} }

// span returns a random duration; short ones are as likely as long ones.
func (d dice) span(min, max time.Duration) time.Duration {
	scale := d.Float64()
	return min + time.Duration(float64(max-min)*scale*scale*scale)
}

func (d dice) chance(p float64) bool { return d.Float64() < p }
