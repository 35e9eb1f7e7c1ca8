package nemesis_test

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/phpgao/elock/locker"
)

// A history is all that is known after a run.
type history struct {
	holds  []hold
	ops    []operation      // on the fenced registers
	chains map[int][]commit // of the fenced registers, by key, in etcd's order
	acts   []act
	faults []window

	resumed  []int64             // when members that were paused went on
	promises map[int64][]promise // etcd's, by lease
	fates    map[entry]fate      // of entries that are gone
}

// A promise is etcd's answer to a client that granted or renewed a lease.
type promise struct {
	call int64
	ttl  time.Duration
}

// A hold is one grant and its end.
type hold struct {
	client, key int
	token       uint64
	lease       int64  // 0 if unknown, as its client had no answer from etcd
	asked       int64  // before
	granted     int64  // after
	seen        int64  // when its client last knew that it held
	ended       int64  // after its client knew, or was dead
	err         string // why it ended: "" for a confirmed release
}

// killed is the err of a hold whose client was killed.
const killed = "client killed"

// An operation is a read or a write of a fenced register.
type operation struct {
	client, key int
	write       bool
	value, prev int64
	token       uint64
	call, at    int64
	err         string // of a write: "", fenced, or why nobody knows
}

// A commit is a write that etcd has made.
type commit struct {
	value, prev int64
	token       uint64
	rev         int64
	times       int64 // how often it was made
}

// An entry is a key in etcd that stands for a lock, by its create revision. It may serve several holds of one process, one
// after the other, without a word to etcd.
type entry struct {
	key int
	rev int64
}

func (h hold) entry() entry { return entry{h.key, int64(h.token >> 16)} }

const (
	deleted = "key deleted"
	evicted = "lock evicted"
	revoked = "lease revoked"
)

// An act takes a lock away from its holder.
type act struct {
	name     string  // deleted, evicted or revoked
	lease    int64   // 0 if only one lock is meant
	entries  []entry // that are struck, as far as known before
	from, to int64
}

// strikes reports whether a takes the lock of h away. It can also have done so before h was granted: for a while a process
// may pass on what it has lost.
func (a act) strikes(h hold) bool {
	if a.lease != 0 && h.lease != 0 {
		return a.lease == h.lease && a.from <= h.ended
	}
	return a.from <= h.ended && slices.Contains(a.entries, h.entry())
}

// actsOn are those that struck x. An eviction may find another holder than the one that was there just before: then it is the
// last one of its key before x was told.
func (h history) actsOn(x hold) (all []act) {
	var eviction []act
	for _, a := range h.acts {
		if a.strikes(x) {
			all = append(all, a)
		} else if a.name == evicted && a.entries[0].key == x.key && a.from <= x.ended {
			eviction = []act{a}
		}
	}
	if len(all) == 0 && x.err == locker.Evicted.String() {
		return eviction
	}
	return all
}

// A window is when something went on.
type window struct {
	name     string
	from, to int64
}

// disturbed reports whether a fault may have been felt between from and to.
func (h history) disturbed(from, to int64) bool {
	return slices.ContainsFunc(h.faults, func(f window) bool { return f.from < to && f.to+int64(aftermath) > from })
}

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
// from before the request. It holds whatever else is wrong.
func (v *verdict) trust(h history, x hold) {
	until := x.asked
	for _, p := range h.promises[x.lease] {
		if p.call <= x.ended {
			until = max(until, p.call+int64(p.ttl-p.ttl/10))
		}
	}
	if x.lease != 0 && x.seen > until {
		v.fail("key %d: client %d believed in token %d for %v longer than etcd had promised: %+v",
			x.key, x.client, x.token, time.Duration(x.seen-until), x)
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
	case locker.KeyDeleted.String(), locker.Evicted.String():
		if h.disturbed(x.granted, x.ended) {
			v.unexplained = append(v.unexplained, fmt.Sprintf("%+v, gone as %+v", x, h.fates[x.entry()]))
			return
		}
		v.fail("key %d: client %d says of token %d: %s, and nobody did it: %+v, gone as %+v", x.key, x.client, x.token, x.err, x, h.fates[x.entry()])
	case locker.LeaseExpired.String(), locker.Deadline.String():
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

// register judges one fenced register: what etcd has made of it, and what clients saw of that.
func (v *verdict) register(key int, ops []operation, chain []commit) {
	place := make(map[int64]int) // in the chain, by value
	for i, c := range chain {
		before := commit{}
		if i > 0 {
			before = chain[i-1]
		}
		if c.prev != before.value {
			v.fail("key %d: an update is lost: %+v follows %+v", key, c, before)
		}
		if c.token < before.token {
			v.fail("key %d: the fence let an earlier holder write: %+v after %+v", key, c, before)
		}
		if c.times != 1 {
			v.fail("key %d: a write was made %d times: %+v", key, c.times, c)
		}
		place[c.value] = i
	}

	// When a write was made for sure: before any that came after it in the chain was answered.
	by := make([]int64, len(chain)+1)
	for i := range by {
		by[i] = math.MaxInt64
	}
	unclaimed := maps.Clone(place)
	var known []operation // what porcupine has to explain
	for _, op := range ops {
		i, there := place[op.value]
		switch {
		case !op.write:
		case there && op.err == fenced:
			v.fail("key %d: a write that was refused is there: %+v", key, op)
		case !there && op.err == "":
			v.fail("key %d: a write that was confirmed is not there: %+v", key, op)
		case !there:
			continue
		case op.err == "":
			by[i] = op.at
		}
		known = append(known, op)
		if op.write {
			delete(unclaimed, op.value)
		}
	}
	for value := range unclaimed {
		v.fail("key %d: nobody wrote %d", key, value)
	}
	for i := len(chain) - 1; i >= 0; i-- {
		by[i] = min(by[i], by[i+1])
	}
	for i, op := range known {
		if op.write && op.err != "" {
			known[i].at = by[place[op.value]]
		}
	}

	// Where no operation is under way the history can be cut, as the chain tells the value there.
	slices.SortFunc(known, func(a, b operation) int { return cmp.Compare(a.call, b.call) })
	var part []porcupine.Operation
	var value, next int64
	last, busy := -1, int64(0)
	check := func() {
		if len(part) > 0 {
			v.porcupine(fmt.Sprintf("register of key %d", key), registerModel(value), part)
		}
		part, value = part[:0], next
	}
	for _, op := range known {
		if len(part) >= piece && op.call > busy {
			check()
		}
		part = append(part, porcupine.Operation{ClientId: op.client, Input: op, Call: op.call, Return: op.at})
		busy = max(busy, op.at)
		if op.write && place[op.value] > last {
			last, next = place[op.value], op.value
		}
	}
	check()
}

// registerModel is a register whose writes replace what they have read.
func registerModel(value int64) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return value },
		Step: func(state, input, _ any) (bool, any) {
			op := input.(operation)
			if op.write {
				return state == op.prev, op.value
			}
			return state == op.value, state
		},
	}
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
