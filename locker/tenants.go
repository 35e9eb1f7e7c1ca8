package locker

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/phpgao/elock/keyspace"
)

// tenants are the holds of Lock, by key, until their Unlock.
type tenants struct {
	mu sync.Mutex
	m  map[keyspace.Key]tenancy
}

// A tenancy is what the next calls of Unlock for a key are about. A hold that
// ended early waits for its own Unlock, which would otherwise free the lock of
// whoever locked the key after it.
type tenancy struct {
	past    []*Hold // ended early; their Unlocks are still to come
	present *Hold
}

// enter records a new hold.
func (t *tenants) enter(h *Hold) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = make(map[keyspace.Key]tenancy)
	}
	y := t.m[h.Key()]
	if y.present != nil && !errors.Is(y.present.Err(), ErrReleased) {
		y.past = append(y.past, y.present)
	}
	y.present = h
	t.m[h.Key()] = y
}

// leave returns the hold that an Unlock of k is for, or nil.
func (t *tenants) leave(k keyspace.Key) *Hold {
	t.mu.Lock()
	defer t.mu.Unlock()
	y := t.m[k]
	if len(y.past) > 0 {
		h := y.past[0]
		y.past = y.past[1:]
		t.m[k] = y
		return h
	}
	delete(t.m, k)
	return y.present
}

// remove forgets a hold whose Lock failed after all.
func (t *tenants) remove(h *Hold) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if y := t.m[h.Key()]; y.present == h {
		y.present = nil
		t.m[h.Key()] = y
	}
}

// restore takes back a hold whose release is not confirmed, for another Unlock.
func (t *tenants) restore(h *Hold) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m[h.Key()].present == nil {
		t.m[h.Key()] = tenancy{present: h}
	}
}

// forgetAfter is how long a hold that nobody unlocks is remembered.
const forgetAfter = 24 * time.Hour

// sweep forgets holds that ended, began long ago, and were never unlocked.
func (t *tenants) sweep() {
	t.mu.Lock()
	defer t.mu.Unlock()
	stale := func(h *Hold) bool { return h.Err() != nil && time.Since(h.since) > forgetAfter }
	for k, y := range t.m {
		y.past = slices.DeleteFunc(y.past, stale)
		if y.present != nil && stale(y.present) {
			y.present = nil
		}
		t.m[k] = y
		if len(y.past) == 0 && y.present == nil {
			delete(t.m, k)
		}
	}
}
