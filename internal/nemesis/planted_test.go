package nemesis_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/phpgao/elock/locker"
)

// Histories with a fault planted in them: a judge who lets one pass is no judge. The good ones show that the fault is what
// is refused.

const second = int64(time.Second)

// twoHolds is a lock that passes from client 1 to client 2.
func twoHolds() history {
	return history{promises: map[int64][]promise{
		7: {{call: 1 * second, ttl: 30 * time.Second}},
		8: {{call: 1 * second, ttl: 30 * time.Second}},
	}, holds: []hold{
		{client: 1, token: 10 << 16, lease: 7, asked: 1 * second, granted: 2 * second, seen: 5 * second, believed: 5 * second, ended: 6 * second},
		{client: 2, token: 20 << 16, lease: 8, asked: 3 * second, granted: 7 * second, seen: 8 * second, believed: 8 * second, ended: 9 * second},
	}}
}

// threeWrites is a register that is written three times, and read after the second.
func threeWrites() history {
	return history{
		ops: []operation{
			{client: 1, write: true, value: 1, prev: 0, token: 10, call: 1, at: 3},
			{client: 2, write: true, value: 2, prev: 1, token: 20, call: 5, at: 7},
			{client: 3, value: 2, call: 8, at: 9},
			{client: 1, write: true, value: 3, prev: 2, token: 30, call: 10, at: 12},
		},
		chains: map[int][]commit{0: {
			{value: 1, prev: 0, token: 10, times: 1},
			{value: 2, prev: 1, token: 20, times: 1},
			{value: 3, prev: 2, token: 30, times: 1},
		}},
	}
}

// twoTicks are done by one client each; the other is told.
func twoTicks() []run {
	return []run{
		{client: 1, tick: 1, begun: 1, ended: 2, told: 3},
		{client: 2, tick: 1, told: 3},
		{client: 1, tick: 2, begun: 6, ended: 7, told: 9},
	}
}

func TestGoodHistoriesPass(t *testing.T) {
	for name, h := range map[string]history{
		"nothing":               {},
		"a lock that passes on": twoHolds(),
		"a register":            threeWrites(),
		"a hold that began before the one that was asked for earlier": edit(twoHolds(), func(h *history) {
			h.holds[1].asked = 0
		}),
		"a paused client that is told late of a hold that is over": edit(twoHolds(), func(h *history) {
			h.holds[0].granted, h.holds[0].seen, h.holds[0].ended = 20*second, 1*second, 21*second
		}),
		"a hold that is released after its lease was good, and is still in etcd": edit(twoHolds(), func(h *history) {
			h.holds[0].believed, h.promises[7][0].ttl = 3*second, 3*time.Second
		}),
		"a lock taken away, and its holder told at once": edit(twoHolds(), func(h *history) {
			h.holds[1].granted = 4 * second
			h.acts = []act{{name: deleted, entries: []entry{{0, 10}}, from: 3 * second, to: 3 * second}}
		}),
		"a lock taken away amid other faults, and its holder told late": edit(twoHolds(), func(h *history) {
			h.holds[0].seen, h.holds[0].ended = 20*second, 21*second
			h.acts = []act{{name: revoked, lease: 7, from: 3 * second, to: 3 * second}}
			h.faults = []window{{name: "client paused", from: 1 * second, to: 4 * second}}
		}),
		"an eviction that found another holder than expected": edit(twoHolds(), func(h *history) {
			h.holds[1].granted, h.holds[0].err = 4*second, locker.ReasonEvicted.String()
			h.acts = []act{{name: evicted, entries: []entry{{0, 9}}, from: 3 * second, to: 3 * second}}
		}),
		"an acquire that is refused while the quota is full, and one that ends with its context": edit(twoHolds(), func(h *history) {
			h.faults = []window{{name: quotaFilled, from: 1 * second, to: 2 * second}}
			h.failures = []failure{
				{call: 1 * second, at: 3 * second, err: rpctypes.ErrNoSpace.Error()},
				{call: 20 * second, at: 23 * second, err: contextEnded},
			}
		}),
		"an acquire whose lock is lost amid faults, and one whose lock is taken away": edit(twoHolds(), func(h *history) {
			h.faults = []window{{name: memberSilent, from: 1 * second, to: 2 * second}}
			h.acts = []act{{name: revoked, lease: 9, from: 23 * second, to: 23 * second}}
			h.failures = []failure{
				{call: 1 * second, at: 3 * second, err: locker.ReasonDeadline.String()},
				{call: 20 * second, at: 24 * second, err: locker.ReasonLeaseExpired.String()},
			}
		}),
		"a lease that a deposed leader revokes": edit(twoHolds(), func(h *history) {
			h.holds[1].granted = 4 * second
			h.resumed = []int64{3 * second}
		}),
		"a lock that is deleted and then passed on within the process": edit(twoHolds(), func(h *history) {
			h.holds[0].seen, h.holds[0].ended = 3*second, 3*second
			h.holds = append(h.holds, hold{client: 1, token: 10<<16 + 1, lease: 7, asked: 5 * second, granted: 6 * second, seen: 7 * second, ended: 7 * second})
			h.holds[1].granted = 4 * second
			h.acts = []act{{name: deleted, entries: []entry{{0, 10}}, from: 3 * second, to: 3 * second}}
		}),
		"ticks": {runs: twoTicks()},
		"a tick whose run fails, another whose outcome is unknown, and a third": {runs: append(twoTicks(),
			run{client: 2, tick: 2, begun: 3, told: 5, err: errNotDone.Error()}, run{client: 1, tick: 3, begun: 10, ended: 11, told: 13, err: unknown}, run{client: 2, tick: 3, told: 14})},
		"a tick whose client was killed when it was done": {runs: append(twoTicks(),
			run{client: 1, tick: 3, begun: 10, ended: 11, err: killed}, run{client: 2, tick: 3, told: 14})},
		"a write whose answer was lost": edit(threeWrites(), func(h *history) {
			h.ops[1].at, h.ops[1].err = 0, killed
		}),
		"a write that nobody saw": edit(threeWrites(), func(h *history) {
			h.ops[3].at, h.ops[3].err = 0, killed
			h.chains[0] = h.chains[0][:2]
		}),
		"a write that the fence refused": edit(threeWrites(), func(h *history) {
			h.ops[3].err = fenced
			h.chains[0] = h.chains[0][:2]
		}),
	} {
		if v := judge(h); len(v.wrong) > 0 {
			t.Errorf("%s: %s", name, strings.Join(v.wrong, "\n"))
		}
	}
}

func TestBadHistoriesAreRefused(t *testing.T) {
	for _, test := range []struct {
		name, want string
		h          history
	}{
		{"two holders at once", "still believed to hold", edit(twoHolds(), func(h *history) {
			h.holds[1].granted = 4 * second
		})},
		{"two holders at once, to porcupine", "porcupine says Illegal", edit(twoHolds(), func(h *history) {
			h.holds[1].granted = 4 * second
		})},
		{"a token that goes back", "still believed to hold", edit(twoHolds(), func(h *history) {
			h.holds[0].token = 30 << 16
		})},
		{"a token that goes back, to porcupine", "porcupine says Illegal", edit(twoHolds(), func(h *history) {
			h.holds[0].token = 30 << 16
		})},
		{"a token granted twice", "granted twice", edit(twoHolds(), func(h *history) {
			h.holds[0].token = 20 << 16
		})},
		{"a lock taken away, and its holder not told", "believed in token 655360", edit(twoHolds(), func(h *history) {
			h.holds[0].seen, h.holds[0].ended = 10*second, 11*second
			h.acts = []act{{name: deleted, entries: []entry{{0, 10}}, from: 3 * second, to: 3 * second}}
		})},
		{"another's lock taken away", "still believed to hold", edit(twoHolds(), func(h *history) {
			h.holds[1].granted = 4 * second
			h.acts = []act{
				{name: deleted, entries: []entry{{0, 11}, {1, 10}}, from: 3 * second, to: 3 * second},
				{name: revoked, lease: 8, from: 3 * second, to: 3 * second},
				{name: evicted, entries: []entry{{1, 10}}, from: 3 * second, to: 3 * second},
			}
		})},
		{"a killed client that believes on", "still believed to hold", edit(twoHolds(), func(h *history) {
			h.holds[0].err, h.holds[0].seen, h.holds[0].ended = killed, 8*second, 8*second
		})},
		{"a lock that is lost to nobody", "nobody did it", edit(twoHolds(), func(h *history) {
			h.holds[0].err = locker.ReasonKeyDeleted.String()
		})},
		{"an acquire that is refused for another fault's reason", "failed for no reason", edit(twoHolds(), func(h *history) {
			h.faults = []window{{name: quotaFilled, from: 1 * second, to: 2 * second}}
			h.failures = []failure{{call: 1 * second, at: 3 * second, err: rpctypes.ErrPermissionDenied.Error()}}
		})},
		{"an acquire that is refused long after the fault", "failed for no reason", edit(twoHolds(), func(h *history) {
			h.faults = []window{{name: quotaFilled, from: 1 * second, to: 2 * second}}
			h.failures = []failure{{call: 8 * second, at: 9 * second, err: rpctypes.ErrNoSpace.Error()}}
		})},
		{"an acquire whose lock is lost to nobody", "failed for no reason", edit(twoHolds(), func(h *history) {
			h.failures = []failure{{call: 1 * second, at: 3 * second, err: locker.ReasonKeyDeleted.String()}}
		})},
		{"an acquire that fails with what passes", "failed for no reason", edit(twoHolds(), func(h *history) {
			h.faults = []window{{name: otherPassword, from: 1 * second, to: 2 * second}}
			h.failures = []failure{{call: 1 * second, at: 3 * second, err: rpctypes.ErrInvalidAuthToken.Error()}}
		})},
		{"a lease believed in for longer than it was promised", "longer than etcd had promised", edit(twoHolds(), func(h *history) {
			h.promises[7][0].ttl = 4 * time.Second
		})},
		{"two holders at once long after a member went on", "still believed to hold", edit(twoHolds(), func(h *history) {
			h.holds[0].seen, h.holds[0].ended = 12*second, 13*second
			h.resumed = []int64{1 * second}
		})},
		{"two holders at once under a lease that lives", "still believed to hold", edit(twoHolds(), func(h *history) {
			h.holds[1].granted = 4 * second
			h.resumed = []int64{3 * second}
			h.promises[7] = append(h.promises[7], promise{5 * second, 4 * time.Second})
		})},
		{"a tick that is done twice", "done 2 times", history{runs: append(twoTicks(), run{client: 2, tick: 2, begun: 5, ended: 6, told: 8})}},
		{"a tick that is left out", "tick 3: done 0 times", history{runs: append(twoTicks(), run{client: 2, tick: 4, begun: 10, ended: 11, told: 12})}},
		{"a tick that nobody ran", "tick 3: done 0 times", history{runs: append(twoTicks(),
			run{client: 1, tick: 3, begun: 10, told: 11, err: errNotDone.Error()}, run{client: 2, tick: 3, told: 12})}},
		{"a lost update", "an update is lost", edit(threeWrites(), func(h *history) {
			h.ops[1].prev, h.chains[0][1].prev = 0, 0
		})},
		{"a lost update, to porcupine", "porcupine says Illegal", edit(threeWrites(), func(h *history) {
			h.ops[1].prev, h.chains[0][1].prev = 0, 0
		})},
		{"a stale read", "porcupine says Illegal", edit(threeWrites(), func(h *history) {
			h.ops[2].value = 1
		})},
		{"a read of what nobody wrote", "porcupine says Illegal", edit(threeWrites(), func(h *history) {
			h.ops[2].value = 99
		})},
		{"a confirmed write that is not there", "is not there", edit(threeWrites(), func(h *history) {
			h.chains[0] = h.chains[0][:2]
		})},
		{"a refused write that is there", "is there", edit(threeWrites(), func(h *history) {
			h.ops[3].err = fenced
		})},
		{"a write made twice", "made 2 times", edit(threeWrites(), func(h *history) {
			h.chains[0][2].times = 2
		})},
		{"a write of an earlier holder", "the fence let", edit(threeWrites(), func(h *history) {
			h.ops[2+1].token, h.chains[0][2].token = 15, 15
		})},
		{"a write of nobody", "nobody wrote 3", edit(threeWrites(), func(h *history) {
			h.ops = h.ops[:3]
		})},
	} {
		v := judge(test.h)
		if all := strings.Join(v.wrong, "\n"); !strings.Contains(all, test.want) {
			t.Errorf("%s: does not say %q, but: %s", test.name, test.want, all)
		}
	}
}

func TestALongHistoryIsJudgedInPieces(t *testing.T) {
	var h history
	const n = 20000
	chain := make([]commit, n)
	for i := range int64(n) {
		token, t := uint64(i+1)<<16, 10*i
		// All ask at once from the start, as waiters do.
		h.holds = append(h.holds, hold{client: int(i % 9), token: token, asked: max(0, t-300), granted: t + 1, seen: t + 8, ended: t + 9})
		h.ops = append(h.ops,
			operation{client: 9, value: i, call: t + 1, at: t + 3},
			operation{write: true, value: i + 1, prev: i, token: token, call: t + 2, at: t + 5})
		if i%10 == 0 {
			h.ops[len(h.ops)-1].err, h.ops[len(h.ops)-1].at = "unknown", t+20
		}
		chain[i] = commit{value: i + 1, prev: i, token: token, times: 1}
	}
	h.chains = map[int][]commit{0: chain}
	v := judge(h)
	if len(v.wrong) > 0 {
		t.Error(v.wrong[0])
	}
	if least := n / piece; v.pieces < least {
		t.Errorf("%d pieces, want %d at least", v.pieces, least)
	}
	// One read among them that is a little too old.
	h.ops[2*n-4].value--
	if v = judge(h); len(v.wrong) == 0 {
		t.Error("a stale read near the end passes")
	}
}

func TestATokenStoreRefusesEarlierHoldersAndNoticesLostUpdates(t *testing.T) {
	s := &store{cells: make(map[int]*cell), visits: make(map[visitor]int64)}
	var value int64
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	ok(s.Read(Visit{Client: 1, Token: 1}, &value))
	ok(s.Write(Visit{Client: 1, Token: 1, Prev: 0, Value: 1}, nil))
	ok(s.Read(Visit{Client: 2, Token: 2}, &value))
	if s.Write(Visit{Client: 1, Token: 1, Prev: 1, Value: 2}, nil) == nil || s.Read(Visit{Client: 1, Token: 1}, &value) == nil {
		t.Error("an earlier holder is let in")
	}
	if value != 1 || len(s.lost) > 0 {
		t.Errorf("value %d, lost %v", value, s.lost)
	}
	if !s.visited(2, 0, 0) || s.visited(2, 0, math.MaxInt64) || s.visited(2, 1, 0) {
		t.Error("visits are not remembered")
	}
	ok(s.Write(Visit{Client: 2, Token: 2, Prev: 0, Value: 3}, nil))
	if len(s.lost) != 1 {
		t.Errorf("a lost update is not noticed: %v", s.lost)
	}
}

func edit(h history, f func(*history)) history {
	f(&h)
	return h
}
