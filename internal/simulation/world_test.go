package simulation_test

import (
	"path"
	"time"

	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// A world is one run: a cluster, processes that use it, and a witness of all that happens.
type world struct {
	*simtest.World
	prod  map[string]bool // what production does besides
	procs []*process
	keys  []keyspace.Key
	loves bool // slots, most of the time

	// Guarded by Mu.
	queues    map[string][]entry                 // of each lock in etcd, by its directory
	places    map[entry]*place                   // of all entries there ever were
	spaceless time.Time                          // until then etcd has, or had a moment ago, no space
	evicted   map[string]time.Time               // when an Evict of a lock was on its way: it leaves no mark while etcd has no space
	tokens    map[string]locker.Token            // the highest of each key
	kinds     map[string]map[string]locker.Token // and of each kind of claims
	commits   map[string]bool                    // whether commits of slots say that they were carried out
	open      map[string]int                     // hook spans that have started and not ended
	acked     map[string]int                     // fenced updates of each register that etcd confirmed
	unknown   map[string]int                     // and those of unknown outcome
	troubles  []*trouble

	deniedUntil time.Time // nobody has permission for the first key
	stats       stats
}

// stats say how much a run has tried.
type stats struct{ grants, waits, risks, losses, timeouts, updates, stays, asked, listens, together, late, turns int }

// evicts notes that an Evict of k begins or has ended. While etcd has no space it
// leaves no mark in the entry, and counts as an act of force all the same.
func (w *world) evicts(k keyspace.Key) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	w.evicted[path.Clean(k.Path("elock"))] = time.Now()
}

// unmarked reports whether an Evict may have deleted an entry of a lock without a
// mark. The caller holds mu.
func (w *world) unmarked(dir string) bool {
	return time.Now().Before(w.spaceless) && time.Since(w.evicted[dir]) < 15*time.Second
}
