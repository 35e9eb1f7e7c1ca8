// Package waits follows who waits for whom, from lock to lock. It knows no etcd: locks, and what describes an owner, are values that it
// carries and does not look into.
package waits

import "slices"

// A Link says that Waiter waits for Key, which Holder holds. Waiter is zero in the first links of a chain.
type Link[K comparable, O any] struct {
	Key    K
	Waiter O
	Holder O
}

// A Graph is who waits for which lock, and who holds those.
type Graph[K comparable, O any] struct {
	name  func(O) string
	waits map[string][]wait[K, O] // by the name of the waiter
}

type wait[K comparable, O any] struct {
	key     K
	waiter  O
	holders []O
}

// New returns an empty Graph. name tells owners apart; one whose name is empty waits for nothing, and is in no cycle.
func New[K comparable, O any](name func(O) string) *Graph[K, O] {
	return &Graph[K, O]{name, make(map[string][]wait[K, O])}
}

// Add adds a lock. An owner that waits for it several times counts once, as it first waited.
func (g *Graph[K, O]) Add(key K, holders, waiters []O) {
	for _, o := range waiters {
		name := g.name(o)
		of := g.waits[name]
		if name != "" && (len(of) == 0 || of[len(of)-1].key != key) {
			g.waits[name] = append(of, wait[K, O]{key, o, holders})
		}
	}
}

// Chain returns the links from a lock and its holders on: after each holder those of the locks that it waits for. A holder that is met
// again is not followed again. cycle is a part of them in which each holder is the next one's waiter, and the last holder the first
// waiter; it is empty if there is none.
func (g *Graph[K, O]) Chain(key K, holders []O) (links, cycle []Link[K, O]) {
	t := tracer[K, O]{g: g, met: make(map[string]bool)}
	for _, h := range holders {
		t.follow(Link[K, O]{Key: key, Holder: h})
	}
	return t.links, t.cycle
}

// A tracer follows waits from owner to owner.
type tracer[K comparable, O any] struct {
	g            *Graph[K, O]
	met          map[string]bool // the owners whose waits are followed
	path         []Link[K, O]    // from the first link to that which is followed
	links, cycle []Link[K, O]
}

// follow adds a link, and those of its holder.
func (t *tracer[K, O]) follow(link Link[K, O]) {
	t.links = append(t.links, link)
	t.path = append(t.path, link)
	defer func() { t.path = t.path[:len(t.path)-1] }()
	switch owner := t.g.name(link.Holder); {
	case owner == "":
	case t.met[owner]:
		t.close(owner)
	default:
		t.met[owner] = true
		for _, w := range t.g.waits[owner] {
			for _, h := range w.holders {
				t.follow(Link[K, O]{w.key, w.waiter, h})
			}
		}
	}
}

// close notes the cycle that the last link of the path closes, if it does: its holder is that of an earlier one.
func (t *tracer[K, O]) close(owner string) {
	last := len(t.path) - 1
	at := slices.IndexFunc(t.path[:last], func(link Link[K, O]) bool { return t.g.name(link.Holder) == owner })
	if at >= 0 && t.cycle == nil {
		t.cycle = slices.Clone(t.path[at+1:])
	}
}
