// Package index finds values by name, where several may have one name. It knows nothing about the values.
//
// # Invariants
//
//   - What is added is found until it is removed.
//   - A refusal is asked for under the mutex of the name's part: a value is either refused, or found by whoever looks afterwards.
//   - No mutex is held over a call of the user but for refuse, [Index.All]'s keep and [Index.Each]'s yield, which must not wait.
package index

import (
	"hash/maphash"
	"slices"
	"sync"
)

// parts is into how many parts an index is split, so that names that have nothing to do with each other do not wait for one mutex.
const parts = 64

var seed = maphash.MakeSeed()

// An Index is values by name. The zero Index is empty. It is safe for concurrent use.
type Index[T comparable] [parts]part[T]

type part[T comparable] struct {
	mu sync.Mutex // guards m
	m  map[string]values[T]
}

// values of one name. There is one nearly always, which takes no memory of its own.
type values[T comparable] struct {
	first T
	more  []T
}

func (x *Index[T]) lock(name string) *part[T] {
	p := &x[maphash.String(seed, name)%parts]
	p.mu.Lock()
	return p
}

// Add adds v unless refuse says why not.
func (x *Index[T]) Add(name string, v T, refuse func() error) error {
	p := x.lock(name)
	defer p.mu.Unlock()
	if err := refuse(); err != nil {
		return err
	}
	if p.m == nil {
		p.m = make(map[string]values[T])
	}
	if vs, ok := p.m[name]; ok {
		p.m[name] = values[T]{vs.first, append(vs.more, v)}
	} else {
		p.m[name] = values[T]{first: v}
	}
	return nil
}

// Remove removes v. It does nothing if v is not there.
func (x *Index[T]) Remove(name string, v T) {
	p := x.lock(name)
	defer p.mu.Unlock()
	vs, ok := p.m[name]
	at := slices.Index(vs.more, v)
	switch {
	case !ok:
	case at >= 0:
		vs.more = slices.Delete(vs.more, at, at+1)
		p.m[name] = vs
	case vs.first != v:
	case len(vs.more) == 0:
		delete(p.m, name)
	default:
		vs.first, vs.more = vs.more[0], vs.more[1:]
		p.m[name] = vs
	}
}

// Get returns the values of that name, in the order in which they were added.
func (x *Index[T]) Get(name string) []T {
	p := x.lock(name)
	defer p.mu.Unlock()
	if vs, ok := p.m[name]; ok {
		return append([]T{vs.first}, vs.more...)
	}
	return nil
}

// All returns the values for which keep is true.
func (x *Index[T]) All(keep func(T) bool) (all []T) {
	x.Each(func(v T) bool {
		if keep(v) {
			all = append(all, v)
		}
		return true
	})
	return all
}

// Each yields all values, until yield returns false.
func (x *Index[T]) Each(yield func(T) bool) {
	for i := range x {
		if !x[i].each(yield) {
			return
		}
	}
}

func (p *part[T]) each(yield func(T) bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, vs := range p.m {
		if !yield(vs.first) {
			return false
		}
		for _, v := range vs.more {
			if !yield(v) {
				return false
			}
		}
	}
	return true
}
