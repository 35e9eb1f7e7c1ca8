package simulation_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// slowest is how long a hook takes at most. Those of one acquire together must stay below every patience of the checks.
const slowest = 200 * time.Millisecond

// A trouble is a hook beside the witness, which is sometimes slow or panics. Each End must come all the same.
type trouble struct {
	w            *world
	name         string
	slow, panics bool

	mu   sync.Mutex
	open map[string]int // spans that have started and not ended
}

func (p *process) newTrouble() *trouble {
	t := &trouble{w: p.w, name: p.Name, slow: p.w.prod[slowHooks], panics: p.w.prod[panicHooks], open: make(map[string]int)}
	p.w.Mu.Lock()
	defer p.w.Mu.Unlock()
	p.w.troubles = append(p.w.troubles, t)
	return t
}

// lateness is how much later an acquire returns at most for slow hooks: Blocked, AcquireEnd and HoldStart may have come since
// its context was checked.
const lateness = 3 * slowest

func (w *world) lateness() time.Duration {
	if w.prod[slowHooks] {
		return lateness
	}
	return 0
}

// act is what the hook does in each method. Its chance is the call's own, as several goroutines call it.
func (t *trouble) act(kind string, change int, key keyspace.Key) {
	t.mu.Lock()
	t.open[kind] += change
	t.mu.Unlock()
	h := fnv.New64a()
	fmt.Fprint(h, t.name, "/", kind, "/", change, "/", key)
	d := simtest.NewDice(t.w.Seed^h.Sum64(), uint64(time.Now().UnixNano()))
	if t.slow && d.Chance(0.1) {
		time.Sleep(d.Span(0, slowest))
	}
	if t.panics && d.Chance(0.05) {
		t.w.Logf("fault: a hook of %s panics at %s %+d of %v", t.name, kind, change, key)
		panic("a hook panics")
	}
}

// settled checks that all that has started has ended.
func (t *trouble) settled() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for kind, n := range t.open {
		if n != 0 {
			t.w.Failf("%s: %d of %s have started and not ended, as the hook in trouble sees it", t.name, n, kind)
		}
	}
}

func (t *trouble) AcquireStart(ctx context.Context, d locker.AcquireStartData) (context.Context, map[string]string) {
	t.act("acquire", 1, d.Key)
	return ctx, nil
}

func (t *trouble) AcquireEnd(_ context.Context, d locker.AcquireEndData) { t.act("acquire", -1, d.Key) }

func (t *trouble) Blocked(_ context.Context, d locker.BlockedData) { t.act("blocked", 0, d.Key) }

func (t *trouble) HoldStart(ctx context.Context, d locker.HoldStartData) context.Context {
	t.act("hold", 1, d.Key)
	return ctx
}

func (t *trouble) HoldRisk(_ context.Context, d locker.HoldRiskData) { t.act("risk", 0, d.Key) }

func (t *trouble) HoldEnd(_ context.Context, d locker.HoldEndData) { t.act("hold", -1, d.Key) }

func (t *trouble) TimeoutStart(ctx context.Context, d locker.TimeoutStartData) context.Context {
	t.act("timeout", 1, d.Key)
	return ctx
}

func (t *trouble) TimeoutEnd(_ context.Context, d locker.TimeoutEndData) { t.act("timeout", -1, d.Key) }
