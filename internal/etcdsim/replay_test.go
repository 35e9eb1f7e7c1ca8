package etcdsim_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/phpgao/elock/internal/etcdsim"
)

func TestASeedReplays(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // with more, what falls on one moment has many orders
	for seed := range uint64(5) {
		// The scheduler has a say where things fall on one moment, so a seed has a few histories.
		seen, same := make(map[string]bool), false
		for n := 0; n < 20 && !same; n++ {
			commits := history(t, seed)
			if len(commits) < 10 {
				t.Fatalf("seed %d: only %d commits", seed, len(commits))
			}
			all := strings.Join(commits, "\n")
			same = seen[all]
			seen[all] = true
		}
		if !same {
			t.Errorf("seed %d: each run is another", seed)
		}
	}
}

// history is what three processes commit that share a lock for a minute, on a bad network.
func history(t *testing.T, seed uint64) (commits []string) {
	synctest.Test(t, func(t *testing.T) {
		sim := etcdsim.New(seed)
		t.Cleanup(sim.Close)
		sim.SetPlan(etcdsim.Faults{MaxDelay: 100 * time.Millisecond, LoseRequest: 0.03, LoseAnswer: 0.03, Hang: 0.3}.Plan())
		sim.OnCommit(func(rev int64, events []*mvccpb.Event) {
			for _, ev := range events {
				commits = append(commits, fmt.Sprint(time.Now().UnixNano(), rev, ev.Type, ev.Kv.Key, ev.Kv.Lease))
			}
		})
		var wg sync.WaitGroup
		for i := range 3 {
			l := newLocker(t, sim.NewClient(fmt.Sprint(i)))
			wg.Go(func() {
				for end := time.Now().Add(time.Minute); time.Now().Before(end); {
					if h, err := l.Acquire(t.Context(), key); err == nil {
						time.Sleep(time.Second)
						h.Release(t.Context())
					}
				}
			})
		}
		wg.Wait()
	})
	return commits
}
