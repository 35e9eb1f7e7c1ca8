package locker

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// unkept is the holds that have ended and whose locks are to stay taken, as AtLeast says, but
// etcd does not know that yet. Close waits for them: it revokes their leases.
type unkept[H comparable] struct {
	mu    sync.Mutex // guards holds; nothing is called under it
	holds map[H]struct{}
	fewer chan struct{} // gets a value when there are fewer
}

func (u *unkept[H]) add(h H) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.holds == nil {
		u.holds = make(map[H]struct{})
	}
	u.holds[h] = struct{}{}
}

// remove removes h. It does nothing if h is not there.
func (u *unkept[H]) remove(h H) {
	u.mu.Lock()
	_, was := u.holds[h]
	delete(u.holds, h)
	u.mu.Unlock()
	if was {
		select {
		case u.fewer <- struct{}{}:
		default:
		}
	}
}

// await waits until there are none. It takes out and returns those that are left when ctx ends.
func (u *unkept[H]) await(ctx context.Context) (left []H) {
	for {
		u.mu.Lock()
		n := len(u.holds)
		u.mu.Unlock()
		if n == 0 {
			return nil
		}
		select {
		case <-u.fewer:
		case <-ctx.Done():
			u.mu.Lock()
			defer u.mu.Unlock()
			left = slices.Collect(maps.Keys(u.holds))
			clear(u.holds)
			return left
		}
	}
}
