package simulation_test

import (
	"context"
	"errors"
	"time"

	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

const (
	// maxStay is how long a lock is to stay taken at most.
	maxStay = 20 * time.Second
	// maxLonger is how much longer its lease may last, where its process has ended: after a Commit, that is 5 seconds.
	maxLonger = 7 * time.Second
)

// A stay is what is known of a lock that is to stay taken, as AtLeast says.
type stay struct {
	until     time.Time
	hold      *locker.Hold
	confirmed bool // by Release
}

// promised reports whether the lock is not to pass on before that, but by force. A lock that is lost does, and one whose release
// was not confirmed may. The caller holds mu.
func (s stay) promised(w *world) bool {
	cause := context.Cause(s.hold.Context())
	if time.Until(s.until) < maxStay*7/100 && w.Profile != simtest.Calm {
		return false // perhaps leases end too early
	}
	if w.Profile == simtest.Calm && !w.prod[steadfast] {
		return errors.Is(cause, locker.ErrReleased) || errors.Is(cause, locker.ErrMaxHeld)
	}
	return s.confirmed && errors.Is(cause, locker.ErrReleased)
}

// stays notes that h is to stay taken for d.
func (w *world) stays(h *locker.Hold, d time.Duration) {
	e := entryOf(h.Key(), h.Token())
	w.Mu.Lock()
	defer w.Mu.Unlock()
	w.place(e).stay = stay{until: w.place(e).since.Add(d), hold: h}
	w.stats.stays++
	w.Log("%v is to stay for %v", e, d)
}

// confirmed notes that the end of h, which is to stay taken, was confirmed by l.
func (p worker) confirmed(h *locker.Hold, l *locker.Locker) {
	p.w.Mu.Lock()
	defer p.w.Mu.Unlock()
	p.w.place(entryOf(h.Key(), h.Token())).stay.confirmed = !p.restarting.Load() && p.locker() == l
}

// stay acquires k, which is to stay taken, and releases it.
func (p worker) stay(ctx context.Context, l *locker.Locker, k keyspace.Key, opts []locker.AcquireOption) error {
	d := p.Span(time.Millisecond, maxStay)
	h, err := l.Acquire(ctx, k, append(opts, locker.AtLeast(d))...)
	p.inTime(ctx, err)
	if err != nil {
		return err
	}
	p.w.stays(h, d)
	if p.Chance(0.5) {
		p.hold(h, k)
	} else {
		p.w.believe(h)
	}
	if err = h.Release(p.releasing()); err == nil {
		p.confirmed(h, l)
	}
	return err
}
