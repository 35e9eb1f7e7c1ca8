package locker

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/phpgao/elock/internal/xctx"
)

// AtLeast has the lock stay taken until d after its grant, though its hold has ended
// before, by Release, Commit, MaxHeld or Close. Nobody waits for that: the hold ends as ever,
// but the lock's key stays in etcd under a lease of its own, and is deleted when d is over. To
// others the lock is held meanwhile, also to callers of this Locker: Inspect, List, Blocking and
// errors name it as the holder, and only Owner.Until tells that it is none. A Fence of the hold
// holds for so long. Evict frees the lock; TryAcquire of this Locker may be ErrLocked for a moment more.
//
// Once Release has returned nil, the lock stays taken even if its process ends; then until etcd
// finds that the lease has expired, a second or two later, or after a Commit perhaps 5. If Release
// says that it is not confirmed, it goes on in the background. If the process dies before that,
// the lock stays taken for what is left of its lease: between two thirds of the TTL and the TTL,
// so a TTL of 3/2 d covers that, too. A lock that is lost passes on.
//
// It is for what must not happen twice within d: a job that nodes whose clocks differ start at
// about the same time. It costs a lease, which etcd grants, for each lock, and two goroutines
// and a watch while the lock stays. If the answer to a grant is lost, another lease is granted; the
// first one, with no key, ends when d is over. It cannot be combined with Shared or Slots. d is above 0, and a year
// at most.
func AtLeast(d time.Duration) AcquireOption {
	return func(r *request) {
		r.atLeast = d
		if d <= 0 || d > maxAtLeast {
			r.err = cmp.Or(r.err, invalid("lock taken for at least %v; want more than 0, and %v at most", d, maxAtLeast))
		}
	}
}

const maxAtLeast = 365 * 24 * time.Hour

// lingers reports whether the entry of h, which has ended, is to stay. It is for the
// goroutine that has ended h.
func (h *Hold) lingers() bool {
	if h.stay == nil && h.held < h.atLeast && time.Since(h.since) < h.atLeast {
		if h.turn != nil { // an Announce may be about to end
			h.turn <- struct{}{}
			defer func() { <-h.turn }()
		}
		h.stay = h.l.lingering.Stay(&h.entry.Entry, h.since.Add(h.atLeast))
	}
	return h.stay != nil
}

// move is for a release, which Close waits for.
func (h *Hold) move(ctx context.Context) error {
	l := h.l
	if l.join() { // otherwise Close may be faster
		defer l.goroutines.Done()
	}
	under, cancel := xctx.Merge(ctx, l.grants)
	defer cancel()
	err := h.stay.Move(under)
	if err == nil {
		l.unkept.Remove(h)
	}
	return err
}

// stayFor has h stay taken as AtLeast says, unless it has ended.
func (h *Hold) stayFor(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cause == nil {
		h.atLeast = d
	}
}

// outlast keeps the entry and the lane, on a goroutine, for as long as the lock stays
// taken. moved says that etcd knows of it; settled is called when it does. While the Locker
// closes, it returns when that is so, as Close goes no further before.
func (h *Hold) outlast(moved bool, settled func()) {
	f := func() { h.stayTaken(moved, settled) }
	if !h.l.spawn(f) {
		f()
	}
}

func (h *Hold) stayTaken(moved bool, settled func()) {
	e := h.entry
	defer e.OpenLane()
	h.stay.Outlast(moved, h.warn(), func(why error) { h.l.freesEarly(h, why) }, func() {
		e.Drop()
		settled()
	})
}

// warn logs one error of many.
func (h *Hold) warn() func(error) {
	var once sync.Once
	return func(err error) {
		once.Do(func() {
			h.l.log.Warn("elock: the lock does not outlive this process, as AtLeast says; retrying", "key", h.Key().String(), "owner", h.l.owner, "err", err)
		})
	}
}

// freesEarly notes for Close, once, that it frees a lock earlier than AtLeast says.
func (l *Locker) freesEarly(h *Hold, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h.early {
		return
	}
	h.early = true
	l.early = append(l.early, fmt.Errorf("%v does not stay taken for %v: %w", h.Key(), h.atLeast, err))
}
