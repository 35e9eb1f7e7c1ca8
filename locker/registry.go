package locker

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/phpgao/elock/internal/losswatch"
)

// parts is into how many parts a table is split, so that locks that have
// nothing to do with each other do not wait for one mutex.
const parts = 64

var seed = maphash.MakeSeed()

// A registry is the holds of a Locker, by the names of their entries in etcd.
type registry [parts]part

type part struct {
	mu sync.Mutex // guards m, and Hold.peer of the holds in it
	m  map[string]*Hold
}

// add records h unless refuse, which is called under a mutex, says why not.
func (r *registry) add(h *Hold, refuse func() error) error {
	p := &r[maphash.String(seed, h.entry.Name)%parts]
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := refuse(); err != nil {
		return err
	}
	if p.m == nil {
		p.m = make(map[string]*Hold)
	}
	h.peer = p.m[h.entry.Name]
	p.m[h.entry.Name] = h
	return nil
}

func (r *registry) remove(h *Hold) {
	p := &r[maphash.String(seed, h.entry.Name)%parts]
	p.mu.Lock()
	defer p.mu.Unlock()
	switch first := p.m[h.entry.Name]; {
	case first == h && h.peer == nil:
		delete(p.m, h.entry.Name)
	case first == h:
		p.m[h.entry.Name] = h.peer
	default:
		for o := first; o != nil; o = o.peer {
			if o.peer == h {
				o.peer = h.peer
			}
		}
	}
}

// get returns the holds of the entry of that name.
func (r *registry) get(name string) []*Hold {
	p := &r[maphash.String(seed, name)%parts]
	p.mu.Lock()
	defer p.mu.Unlock()
	var hs []*Hold
	for h := p.m[name]; h != nil; h = h.peer {
		hs = append(hs, h)
	}
	return hs
}

// all returns the holds for which keep is true.
func (r *registry) all(keep func(*Hold) bool) []*Hold {
	var hs []*Hold
	for i := range r {
		p := &r[i]
		p.mu.Lock()
		for _, h := range p.m {
			for ; h != nil; h = h.peer {
				if keep(h) {
					hs = append(hs, h)
				}
			}
		}
		p.mu.Unlock()
	}
	return hs
}

// entries yields the entries of all holds, and since when these are held. It does
// so under a mutex: yield must not wait.
func (r *registry) entries(yield func(losswatch.Entry, time.Time) bool) {
	for i := range r {
		if !r[i].entries(yield) {
			return
		}
	}
}

func (p *part) entries(yield func(losswatch.Entry, time.Time) bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.m {
		for ; h != nil; h = h.peer {
			if e := h.entry; !yield(losswatch.Entry{Key: e.Name, Rev: e.Rev, Lease: int64(e.Lease.ID())}, h.since) {
				return false
			}
		}
	}
	return true
}
