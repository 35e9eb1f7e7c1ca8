package simulation_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

func TestLocksKeepTheirPromisesUnderRandomFaults(t *testing.T) {
	var total stats
	simtest.Seeds(t, "./internal/simulation", func(seed uint64) *simtest.World {
		w := simulate(t, seed)
		total.grants += w.stats.grants
		total.waits += w.stats.waits
		total.risks += w.stats.risks
		total.losses += w.stats.losses
		total.timeouts += w.stats.timeouts
		total.updates += w.stats.updates
		total.stays += w.stats.stays
		total.asked += w.stats.asked
		total.listens += w.stats.listens
		total.together += w.stats.together
		total.late += w.stats.late
		total.turns += w.stats.turns
		return w.World
	})
	t.Logf("%+v", total)
}

// simulate makes the world of a seed and lets it go its way.
func simulate(t *testing.T, seed uint64) (w *world) {
	simtest.Play(t, seed, func(base *simtest.World) {
		w = &world{
			World:   base,
			queues:  make(map[string][]entry),
			places:  make(map[entry]*place),
			evicted: make(map[string]time.Time),
			tokens:  make(map[string]locker.Token),
			kinds:   make(map[string]map[string]locker.Token),
			commits: make(map[string]bool),
			loves:   seed/uint64(simtest.Profiles)%3 == 0,
			open:    make(map[string]int),
			acked:   make(map[string]int),
			unknown: make(map[string]int),
		}
		w.Anyone = func() *simtest.Process { return w.procs[w.IntN(len(w.procs))].Process }
		w.chooseFaults()
		w.End = w.Began.Add(time.Duration(1+w.IntN(5)) * time.Minute)
		w.Sim.OnCommit(w.committed)
		w.Sim.SetPlan(w.plan())
		for i := range 1 + w.IntN(w.maxKeys()) {
			w.keys = append(w.keys, keyspace.MustNew[int]("k").Key(i))
		}
		processes, workers := 2+w.IntN(3), 4
		if w.Chance(0.1) { // a long queue
			processes, workers = 14, 1
			w.keys = w.keys[:1]
		}
		for i := range processes {
			w.procs = append(w.procs, w.newProcess(fmt.Sprintf("p%d", i)))
		}
		var wg sync.WaitGroup
		n := uint64(0)
		for _, p := range w.procs {
			for range 1 + w.IntN(workers) {
				n++
				wg.Go(worker{p, simtest.NewDice(seed, n)}.work)
			}
		}
		wg.Go(w.torment)
		wg.Wait()
		w.CalmDown()
		w.settleSlots()
		for _, p := range w.procs {
			if h := p.locker().Health(); h != (locker.Health{Reachable: true}) {
				w.Failf("%s: a minute after all faults: %+v", p.Name, h)
			}
			p.stop()
		}
		w.leftovers()
	})
	return w
}
