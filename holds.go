package elock

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// classicHolds are the holds of Lock, by key, until their Unlock.
type classicHolds struct {
	mu    sync.Mutex // guards what follows
	m     map[keyspace.Key]classicKey
	swept time.Time // when sweep last ran
}

// A classicKey is what the next calls of Unlock for a key are about. A hold that
// ended early waits for its own Unlock, which would otherwise free the lock of
// whoever locked the key after it.
type classicKey struct {
	past    []classicHold // ended early; their Unlocks are still to come
	present classicHold   // its hold is nil if there is none
}

type classicHold struct {
	hold  *locker.Hold
	since time.Time
}

const (
	// forgetAfter is how long a hold that nobody unlocks is remembered.
	forgetAfter = 24 * time.Hour
	// sweepEvery is how often holds are looked through for those.
	sweepEvery = time.Hour
)

// add records a new hold.
func (c *classicHolds) add(h *locker.Hold) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.m == nil {
		c.m, c.swept = make(map[keyspace.Key]classicKey), now
	}
	if now.Sub(c.swept) >= sweepEvery {
		c.sweep(now)
	}
	k := c.m[h.Key()]
	if old := k.present; old.hold != nil && !errors.Is(old.hold.Err(), locker.ErrReleased) {
		k.past = append(k.past, old)
	}
	k.present = classicHold{h, now}
	c.m[h.Key()] = k
}

// take returns the hold that an Unlock of key is for, or nil.
func (c *classicHolds) take(key keyspace.Key) *locker.Hold {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.m[key]
	h := k.present.hold
	if len(k.past) > 0 {
		h, k.past = k.past[0].hold, k.past[1:]
	} else {
		k.present = classicHold{}
	}
	c.set(key, k)
	return h
}

// remove forgets a hold whose Lock failed after all.
func (c *classicHolds) remove(h *locker.Hold) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.m[h.Key()]; k.present.hold == h {
		k.present = classicHold{}
		c.set(h.Key(), k)
	}
}

// restore takes back a hold whose release is not confirmed, for another Unlock.
func (c *classicHolds) restore(h *locker.Hold) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m[h.Key()].present.hold == nil {
		c.m[h.Key()] = classicKey{present: classicHold{h, time.Now()}}
	}
}

// sweep forgets holds that ended, began long ago, and were never unlocked. The
// caller must hold mu.
func (c *classicHolds) sweep(now time.Time) {
	c.swept = now
	stale := func(h classicHold) bool { return h.hold.Err() != nil && now.Sub(h.since) > forgetAfter }
	for key, k := range c.m {
		k.past = slices.DeleteFunc(k.past, stale)
		if k.present.hold != nil && stale(k.present) {
			k.present = classicHold{}
		}
		c.set(key, k)
	}
}

// set notes what is known of key. The caller must hold mu.
func (c *classicHolds) set(key keyspace.Key, k classicKey) {
	if len(k.past) == 0 && k.present.hold == nil {
		delete(c.m, key)
		return
	}
	c.m[key] = k
}
