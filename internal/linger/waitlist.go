package linger

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// A Waitlist is what is to stay, but has not moved yet, by whatever names it. Whoever ends the process waits for it. It is safe for
// concurrent use, but for Await, which one goroutine may call at a time.
type Waitlist[H comparable] struct {
	mu    sync.Mutex // guards all; nothing is called under it
	of    map[H]struct{}
	fewer chan struct{} // closed when there are fewer; nil while nobody waits
}

// Add adds h.
func (w *Waitlist[H]) Add(h H) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of == nil {
		w.of = make(map[H]struct{})
	}
	w.of[h] = struct{}{}
}

// Remove removes h. It does nothing if h is not there.
func (w *Waitlist[H]) Remove(h H) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.of, h)
	if w.fewer != nil {
		close(w.fewer)
		w.fewer = nil
	}
}

// Await waits until there is nothing left. When ctx ends, it takes out and returns what is left.
func (w *Waitlist[H]) Await(ctx context.Context) (left []H) {
	for {
		w.mu.Lock()
		if len(w.of) == 0 || ctx.Err() != nil {
			left = slices.Collect(maps.Keys(w.of))
			clear(w.of)
			w.mu.Unlock()
			return left
		}
		w.fewer = make(chan struct{})
		fewer := w.fewer
		w.mu.Unlock()
		select {
		case <-fewer:
		case <-ctx.Done():
		}
	}
}
