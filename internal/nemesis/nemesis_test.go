package nemesis_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/etcdtest/member"
	"github.com/phpgao/elock/internal/etcdtest/mode"
)

var (
	duration = flag.Duration("nemesis", 20*time.Second, "how long faults go on")
	seed     = flag.Uint64("seed", 0, "of all choices; 0 for a new one")
)

// Kinds of tokens.
const (
	simple = "simple tokens of 3s"
	jwt    = "JWT of 3s"
)

func TestLocksKeepTheirPromisesOnABadDayOfARealCluster(t *testing.T) {
	skipWhereNothingCanBePaused(t)
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("go test ./internal/nemesis -nemesis=%v -seed=%d", *duration, *seed)
	t.Run("without auth", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, etcdtest.StartClusterAs(t, mode.Version(), members, quotaFlag), "", "")
		w.days(1)
		w.judge()
	})
	t.Run("with auth", func(t *testing.T) {
		t.Parallel()
		if mode.Version() == member.V34 {
			t.Skip("etcd 3.4 refuses the login of a client whose token has died, for good: it looks at the dead token first")
		}
		tokens := []string{simple, jwt}[choices(2, 0).IntN(2)]
		a := etcdtest.StartAuth(t, etcdtest.AuthConfig{
			Members: members, TokenTTL: 3 * time.Second, JWT: tokens == jwt, Flags: []string{quotaFlag},
		})
		a.Grant(t, prefix)
		a.SetPassword(t, "the first secret")
		w := newWorld(t, a.Cluster, tokens, "the first secret")
		w.days(3)
		w.judge()
	})
}

func skipWhereNothingCanBePaused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("processes cannot be paused here")
	}
}

// choices are random, and the same for each run with a seed.
func choices(who, what uint64) *rand.Rand { return rand.New(rand.NewPCG(*seed, who<<32|what)) }

// days are rounds of faults, each followed by calm.
func (w *world) days(who uint64) {
	w.began = now()
	w.recover() // so that all are up
	hands := w.hands(who)
	rng := choices(who, uint64(len(hands)))
	end := now() + int64(*duration)
	for round := 0; now() < end && !w.t.Failed(); round++ {
		some := 1 + rng.IntN(1<<len(hands)-1) // hands that are busy, as bits
		switch {
		case round == 0:
			some = 1<<len(hands) - 1
		case rng.IntN(3) == 0: // one alone: what it does is judged more strictly where nothing else is wrong
			some = 1 << rng.IntN(len(hands))
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(6000+rng.IntN(8000))*time.Millisecond)
		var all sync.WaitGroup
		for i, h := range hands {
			if some&(1<<i) != 0 {
				all.Go(func() { h.torment(ctx) })
			}
		}
		all.Wait()
		cancel()
		calm := window{from: now()}
		w.recover()
		idle(context.Background(), 2*time.Second)
		calm.to = now()
		w.calms = append(w.calms, calm)
	}
}

// judge ends all clients, and judges what they and etcd tell.
func (w *world) judge() {
	t := w.t
	end := now()
	var all sync.WaitGroup
	for _, s := range w.seats {
		all.Go(s.finish)
	}
	all.Wait()
	w.leftovers()

	var h history
	h.acts, h.faults, h.resumed = w.acts, w.faults, w.resumed
	h.fates = w.witness.stop()
	h.chains, h.promises = make(map[int][]commit), make(map[int64][]promise)
	for key := range keys {
		h.chains[key] = w.chain(key)
	}
	for id := 1; id <= w.ids; id++ {
		w.silent(id)
		s, err := w.tell(id, w.deaths[id])
		if err != nil {
			t.Error(err)
			continue
		}
		h.holds = append(h.holds, s.holds...)
		h.ops = append(h.ops, s.ops...)
		maps.Copy(h.promises, s.promises)
		h.failures = append(h.failures, s.failures...)
		h.runs = append(h.runs, s.runs...)
		if s.end != nil && s.end.At > end && s.end.Err != "" {
			t.Errorf("client %d, after all faults: %s", id, s.end.Err)
		}
	}
	v := judge(h)
	for i, wrong := range v.wrong {
		if i == 20 {
			t.Errorf("and %d more", len(v.wrong)-i)
			break
		}
		t.Error(wrong)
	}
	for _, lost := range w.store.lost {
		t.Errorf("the store lost an update: %s", lost)
	}
	for _, lost := range v.unexplained {
		t.Log("told as deleted, by nobody:", lost)
	}
	t.Log(figures(w, h, v, window{from: w.began, to: end}))
}

// figures say how much was tried, and what came of it.
func figures(w *world, h history, v verdict, all window) string {
	var b strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "\n%24s  ", what)
		fmt.Fprintf(&b, format, args...)
	}
	tries, ends, outcomes, reads := len(h.holds)+len(h.failures), make(map[string]int), make(map[string]int), 0
	failed := make(map[string]int) // acquires, by reason
	for _, x := range h.failures {
		failed[x.err]++
	}
	for _, x := range h.holds {
		if x.err == "" {
			x.err = "released"
		}
		ends[x.err]++
	}
	for _, o := range h.ops {
		switch {
		case !o.write:
			reads++
		case o.err == "":
			outcomes["confirmed"]++
		case o.err == fenced:
			outcomes["refused by the fence"]++
		default:
			outcomes["unknown"]++
		}
	}
	made := 0
	for _, chain := range h.chains {
		made += len(chain)
	}
	holds := byGrant(h.holds)
	var calm, gap time.Duration
	for _, c := range w.calms {
		calm += time.Duration(c.to - c.from)
		gap = max(gap, longestGap(holds, c))
	}
	line("time", "%v, %v of it calm, in %d rounds; seed %d", time.Duration(all.to-all.from).Round(time.Second), calm.Round(time.Second), len(w.calms), *seed)
	line("auth", "%s", cmp.Or(w.tokens, "none"))
	line("clients", "%d processes, %d of them killed", w.ids, len(w.deaths))
	line("operations", "%d: %d acquires, %d reads, %d writes", tries+len(h.ops), tries, reads, len(h.ops)-reads)
	line("acquires that failed", "%s", list(failed))
	line("holds", "%d: %s", len(h.holds), list(ends))
	line("fenced writes", "%s; %d made, none lost or made twice unless told above", list(outcomes), made)
	line("writes by token", "%d accepted, %d visits of earlier holders refused", w.store.accepted, w.store.refused)
	line("ticks", "%d done once, %d of them begun again", v.ticks, v.again)
	line("terms", "%d of the election", len(byKey(h.holds, func(x hold) int { return x.key })[elected]))
	line("faults", "%s; %d acts of an operator failed", list(w.counts), w.vain)
	line("no space", "%d times; all acquires that etcd refused are explained by the faults, unless told above", w.full)
	line("locks taken away", "%d times; known after %v at most, after %v with other faults", len(h.acts), v.latest.Round(time.Millisecond), v.later.Round(time.Millisecond))
	line("leases broken", "by leaders that were deposed while paused: %d with others holding for %v at most", v.betrayed, v.longest.Round(time.Millisecond))
	line("leases lost", "%d, with nothing at fault", v.unprovokedLosses)
	line("locks lost", "%d, told as deleted, by nobody, among other faults", len(v.unexplained))
	line("longest without a grant", "%v, in calm %v; until each client had locked each key %v",
		longestGap(holds, all).Round(time.Millisecond), gap.Round(time.Millisecond), w.worst.Round(time.Millisecond))
	line("judgement", "%d pieces by porcupine, %v in all, %d violations", v.pieces, v.took.Round(time.Millisecond), len(v.wrong)+len(w.store.lost))
	return b.String()
}

// list is counts in the order of their names.
func list(counts map[string]int) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(all, ", ")
}
