package nemesis_test

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/anishathalye/porcupine"
)

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
