package nemesis_test

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/phpgao/elock/locker"
)

const (
	// lateness is how long a holder may take to hear of an operator's act: 2 seconds, and 3 for a machine that is busy.
	lateness = 5 * time.Second
	// aftermath is how long a fault may be felt.
	aftermath = 5 * time.Second
	// piece is how many operations porcupine gets at once, or a few more.
	piece = 200
	// patience is how long porcupine may think about them.
	patience = time.Minute
)

// A verdict is what is wrong with a history, and what was looked at.
type verdict struct {
	wrong  []string
	pieces int           // judged by porcupine
	took   time.Duration // all of it
	latest time.Duration // knowledge of an act, with nothing else at fault
	later  time.Duration // and with

	betrayed int           // holds whose lease etcd ended before its time
	longest  time.Duration // that such a one was believed in when others had its lock

	ticks, again int // that are done, and that were begun more than once

	unprovokedLosses int      // of leases, with nothing at fault
	unexplained      []string // locks whose keys no operator deleted, among other faults, and how etcd says they went
}

func (v *verdict) fail(format string, args ...any) {
	v.wrong = append(v.wrong, fmt.Sprintf(format, args...))
}

func judge(h history) verdict {
	began := time.Now()
	var v verdict
	for key, holds := range byKey(h.holds, func(x hold) int { return x.key }) {
		v.locks(h, key, holds)
	}
	for key, ops := range byKey(h.ops, func(x operation) int { return x.key }) {
		v.register(key, ops, h.chains[key])
	}
	for _, x := range h.failures {
		v.refused(h, x)
	}
	v.once(h.runs)
	v.took = time.Since(began)
	return v
}

func byKey[T any](all []T, key func(T) int) map[int][]T {
	m := make(map[int][]T)
	for _, x := range all {
		m[key(x)] = append(m[key(x)], x)
	}
	return m
}

// locks judges the holds of one key. Tokens tell the order in which they were granted; their times must allow for it.
func (v *verdict) locks(h history, key int, holds []hold) {
	slices.SortFunc(holds, func(a, b hold) int { return cmp.Compare(a.token, b.token) })
	next := make([]int64, len(holds)+1) // when the first of those from i on was granted
	next[len(holds)] = math.MaxInt64
	for i, x := range slices.Backward(holds) {
		next[i] = min(next[i+1], x.granted)
	}
	var ops []porcupine.Operation
	var free int64 // the first moment that leaves room for all holds before
	for i, x := range holds {
		if i > 0 && holds[i-1].token == x.token {
			v.fail("key %d: token %d was granted twice", key, x.token)
		}
		x.seen = max(x.seen, x.asked)
		v.trust(h, x)
		over := int64(math.MaxInt64) // when x lost its lock in etcd
		acts := h.actsOn(x)
		for _, a := range acts {
			over = min(over, a.from)
			v.late(h, x, a)
		}
		if len(acts) == 0 {
			v.unprovoked(h, x)
		}
		if x.seen > next[i+1] && over > next[i+1] {
			if at, found := h.betrayal(x, next[i+1]); found {
				v.betrayed++
				v.longest = max(v.longest, time.Duration(x.seen-next[i+1]))
				over = at
			}
		}
		if over < x.asked {
			continue // there was nothing to hold any more
		}
		x.seen = min(x.seen, over)
		taken := max(free, x.asked)
		if taken > x.granted {
			v.fail("key %d: client %d was granted token %d by %d, when client %d, token %d, still believed to hold (until %d), or before: %+v",
				key, x.client, x.token, x.granted, holds[max(i-1, 0)].client, holds[max(i-1, 0)].token, free, x)
			taken = x.granted
		}
		ops = append(ops,
			porcupine.Operation{ClientId: x.client, Input: lockInput{x.token, true}, Call: x.asked, Return: x.granted},
			porcupine.Operation{ClientId: x.client, Input: lockInput{x.token, false}, Call: x.seen, Return: max(x.ended, x.seen)})
		free = max(taken, x.seen)
		if len(ops) >= piece {
			v.porcupine(fmt.Sprintf("lock of key %d", key), lockModel, ops)
			ops = ops[:0]
		}
	}
	v.porcupine(fmt.Sprintf("lock of key %d", key), lockModel, ops)
}

// trust judges whether x was believed in no longer than etcd had promised: until a tenth of the TTL before its end, counted
// from before the request. It holds whatever else is wrong. A release may find the entry in etcd later than that.
func (v *verdict) trust(h history, x hold) {
	until := x.asked
	for _, p := range h.promises[x.lease] {
		if p.call <= x.ended {
			until = max(until, p.call+int64(p.ttl-p.ttl/10))
		}
	}
	if x.lease != 0 && x.believed > until {
		v.fail("key %d: client %d believed in token %d for %v longer than etcd had promised: %+v",
			x.key, x.client, x.token, time.Duration(x.believed-until), x)
	}
}

// betrayal returns when etcd may have broken its promise to x, whose lock was granted to another by the time of next. A leader
// that was paused, and deposed, does not know it in its first moments after. Then it revokes leases which its successor has
// renewed, and answers renewals that its successor does not hear of: etcd 3.7.3 takes a leader that ticks for the leader (see
// ensureLeadership in its server, and etcd's issue 15247). To the holder that is like a lease revoked by hand.
func (h history) betrayal(x hold, next int64) (at int64, found bool) {
	for _, p := range h.promises[x.lease] {
		if p.call > next {
			return 0, false // the lease lives
		}
	}
	for _, r := range h.resumed {
		if r <= next && next-r < int64(maxTTL+time.Second) {
			return r, true
		}
	}
	return 0, false
}

// unprovoked judges the end of a hold that no operator took away.
func (v *verdict) unprovoked(h history, x hold) {
	switch x.err {
	case locker.ReasonKeyDeleted.String(), locker.ReasonEvicted.String():
		if h.disturbed(x.granted, x.ended) {
			v.unexplained = append(v.unexplained, fmt.Sprintf("%+v, gone as %+v", x, h.fates[x.entry()]))
			return
		}
		v.fail("key %d: client %d says of token %d: %s, and nobody did it: %+v, gone as %+v", x.key, x.client, x.token, x.err, x, h.fates[x.entry()])
	case locker.ReasonLeaseExpired.String(), locker.ReasonDeadline.String():
		if !h.disturbed(x.granted, x.ended) {
			v.unprovokedLosses++
		}
	}
}

// late judges how long x was believed in after an act had taken it away.
func (v *verdict) late(h history, x hold, a act) {
	late := time.Duration(x.seen - a.to)
	if late <= 0 {
		return
	}
	if h.disturbed(a.from, x.seen) {
		v.later = max(v.later, late)
		return
	}
	v.latest = max(v.latest, late)
	if late > lateness {
		v.fail("key %d: client %d believed in token %d for %v after %s: %+v", x.key, x.client, x.token, late, a.name, x)
	}
}

// refusals are the errors of etcd that an acquire may meet, each with the faults that explain it. All others pass, and no
// acquire fails with one.
var refusals = map[string][]string{
	rpctypes.ErrNoSpace.Error():          {quotaFilled},
	rpctypes.ErrPermissionDenied.Error(): {roleRevoked},
	rpctypes.ErrAuthFailed.Error():       {otherPassword, passwordChanged},
}

// losses are why an acquire may fail whose lock was lost before it could return.
var losses = []string{
	locker.ReasonLeaseExpired.String(), locker.ReasonDeadline.String(), locker.ReasonKeyDeleted.String(), locker.ReasonEvicted.String(),
}

// refused judges an acquire that failed.
func (v *verdict) refused(h history, x failure) {
	if slices.Contains(expected, x.err) || slices.Contains(losses, x.err) && (h.disturbed(x.call, x.at) || h.acted(x.call, x.at)) {
		return
	}
	for _, f := range h.faults {
		if slices.Contains(refusals[x.err], f.name) && f.from < x.at && f.to+int64(aftermath) > x.call {
			return
		}
	}
	v.fail("key %d: an acquire of client %d, from %d to %d, failed for no reason that was given: %s", x.key, x.client, x.call, x.at, x.err)
}

type lockInput struct {
	token uint64
	take  bool
}

type lockState struct{ holder, last uint64 }

// lockModel is a lock that is taken with a token, each higher than the last, and given back.
var lockModel = porcupine.Model{
	Init: func() any { return lockState{} },
	Step: func(state, input, _ any) (bool, any) {
		s, in := state.(lockState), input.(lockInput)
		if in.take {
			return s.holder == 0 && in.token > s.last, lockState{in.token, in.token}
		}
		return s.holder == in.token, lockState{0, s.last}
	},
}

func (v *verdict) porcupine(what string, model porcupine.Model, ops []porcupine.Operation) {
	v.pieces++
	if result := porcupine.CheckOperationsTimeout(model, ops, patience); result != porcupine.Ok {
		var list strings.Builder
		for _, op := range ops {
			fmt.Fprintf(&list, "\n\t%d..%d client %d: %+v", op.Call, op.Return, op.ClientId, op.Input)
		}
		v.fail("%s: porcupine says %s of%s", what, result, &list)
	}
}
