package otelhook_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/trace"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

var errUser = errors.New("the user's")

// act does one thing at random that a user might do.
func act(p *process, space keyspace.Space[int]) {
	k := space.Key(rand.IntN(3))
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(100))*time.Millisecond)
	defer cancel()
	if rand.IntN(2) == 0 {
		var span trace.Span
		ctx, span = p.request("request")
		defer span.End()
		ctx, cancel = context.WithCancel(ctx)
		defer time.AfterFunc(time.Duration(rand.IntN(300))*time.Millisecond, cancel).Stop()
		defer cancel()
	}
	ttl := locker.TTL(2 * time.Second)
	pause := func() { time.Sleep(time.Duration(rand.IntN(15)) * time.Millisecond) }
	switch rand.IntN(6) {
	case 0:
		if h, err := p.TryAcquire(ctx, k, ttl); err == nil {
			pause()
			_ = h.Release(ctx)
		}
	case 1:
		if h, err := p.Acquire(ctx, k, ttl, locker.MaxHeld(5*time.Millisecond)); err == nil {
			pause()
			pause()
			_ = h.Release(ctx)
		}
	case 2:
		defer func() { _ = recover() }()
		_ = p.RunInLock(ctx, k, func(context.Context, *locker.Hold) error { panic("stop") }, ttl)
	case 3:
		_, _ = p.Evict(ctx, k)
	default:
		_ = p.RunInLock(ctx, k, func(context.Context, *locker.Hold) error { pause(); return errUser }, ttl)
	}
}

func TestEverySpanEndsWhateverHappens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	proxy := etcdtest.Proxy(t, w.server.Endpoints()[0])
	direct := w.process("direct", quickMonitor)
	shaky := w.processOn(proxy.Client(t), "shaky", quickMonitor)
	space := keyspace.MustNew[int]("random")
	ctx := context.Background()

	stop := make(chan struct{})
	var users sync.WaitGroup
	for _, p := range w.all {
		for range 6 {
			users.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						act(p, space)
					}
				}
			})
		}
	}
	// Some ends take time, or come with Close: holds that last see to them.
	evicted := direct.acquire(t, ctx, keyspace.MustParse("lasts/evicted"))
	if _, err := shaky.Evict(ctx, evicted.Key()); err != nil {
		t.Fatal(err)
	}
	lost := shaky.acquire(t, ctx, keyspace.MustParse("lasts/lost"), locker.TTL(2*time.Second))
	proxy.BlackHole(t)
	locktest.Receive(t, lost.Context().Done())
	proxy.Heal(t)
	proxy.Cut(t)
	proxy.Heal(t)
	locktest.Receive(t, evicted.Context().Done())
	direct.acquire(t, ctx, key)
	shaky.acquire(t, ctx, other)
	for _, p := range w.all {
		users.Go(func() { _, _ = p.Acquire(ctx, key) })
		users.Go(func() { _, _ = p.Acquire(ctx, other) })
	}
	locktest.Until(t, "they wait", func() bool { return waiting(t, direct) >= 2 && waiting(t, shaky) >= 2 })

	drained, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if err := direct.Shutdown(drained); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	for _, p := range w.all {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	users.Wait()

	seen := map[string]bool{}
	for _, p := range w.all {
		for _, name := range []string{"elock.acquire", "elock.hold", "elock.timeout"} {
			for _, end := range p.outcomes(name) {
				seen[name+" "+end] = true
			}
		}
		checkBalance(t, p)
	}
	for _, end := range []string{
		"elock.acquire acquired Unset ", "elock.acquire locked Unset ", "elock.acquire canceled Unset ",
		"elock.acquire deadline Error deadline", "elock.acquire error Error closed",
		"elock.hold released Unset ", "elock.hold evicted Error evicted", "elock.hold lost Error lease_deadline",
		"elock.hold max_held Error max_held", "elock.hold closed Unset ", "elock.timeout released Unset ",
	} {
		if !seen[end] {
			t.Errorf("no %s; seen %v", end, seen)
		}
	}
}

// checkBalance wants as many ends as starts, in spans and in metrics.
func checkBalance(t *testing.T, p *process) {
	t.Helper()
	balance, total := map[string]int{}, map[string]int{}
	for _, s := range p.spans.Started() {
		balance[s.Name()]++
		total[s.Name()]++
	}
	for _, s := range p.spans.Ended() {
		balance[s.Name()]--
	}
	for name, n := range balance {
		if n != 0 {
			t.Errorf("%s: %d spans %s have not ended", p.name, n, name)
		}
	}
	counts := map[string]int{}
	for _, m := range p.collect(t) {
		switch data := m.Data.(type) {
		case metricdata.Histogram[float64]:
			for _, d := range data.DataPoints {
				counts[m.Name] += int(d.Count)
			}
		case metricdata.Sum[int64]:
			for _, d := range data.DataPoints {
				if !data.IsMonotonic && d.Value != 0 {
					t.Errorf("%s: %s is %d in the end", p.name, m.Name, d.Value)
				}
				counts[m.Name] += int(d.Value)
			}
		}
	}
	for metric, span := range map[string]string{
		"elock.acquire.duration": "elock.acquire", "elock.hold.duration": "elock.hold", "elock.timeouts": "elock.timeout",
	} {
		if counts[metric] != total[span] {
			t.Errorf("%s: %s counts %d, of %d spans", p.name, metric, counts[metric], total[span])
		}
	}
	t.Log(p.name, fmt.Sprint(total), "lost:", counts["elock.lost"])
}

// waiting is how many acquires of p wait.
func waiting(t *testing.T, p *process) (n int64) {
	for _, m := range p.collect(t) {
		if m.Name != "elock.waiters" {
			continue
		}
		for _, d := range m.Data.(metricdata.Sum[int64]).DataPoints {
			if v, _ := d.Attributes.Value("elock.space"); v.AsString() == "space" {
				n += d.Value
			}
		}
	}
	return n
}
