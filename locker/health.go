package locker

import (
	"fmt"
	"time"

	"github.com/phpgao/elock/internal/health"
)

// A Health is what a Locker knows of its own state.
type Health struct {
	// Reachable is false while calls to etcd fail, or renewals of leases are not answered, and have been so for 2 seconds or
	// more. A refusal, such as a missing permission, is an answer. A failure after which nothing more is heard counts for 30
	// seconds: a Locker that has nothing to ask of etcd has no evidence, and is healthy.
	Reachable bool
	// Since is when the first call or renewal that failed was sent. Of calls it is the last answer, if that came later. It is zero
	// while Reachable.
	Since time.Time
	// Closed says that acquires are refused, after Shutdown or Close.
	Closed bool
	// Err says why the Locker is not OK: it matches ErrClosed or ErrUnavailable, and gives the last failure.
	Err error

	Holds  int // locks that are held; each of a HoldSet counts
	AtRisk int // those of them that are at risk, as Hold.AtRisk says
}

// OK reports whether the Locker can be relied on, as far as it knows: it is not closed, etcd answers it, and no hold is at risk.
func (h Health) OK() bool { return h.Err == nil }

// Health tells whether the Locker can be relied on, for a readiness probe. It sends nothing to etcd and does not wait; it looks at
// what the Locker's own calls have met, and counts its holds. A standby that waits for a lock, or does nothing, is healthy. A
// program that wants evidence all the time reads something with its own client, such as
//
//	_, err := client.Get(ctx, "health", clientv3.WithCountOnly())
func (l *Locker) Health() Health {
	if err := l.made(); err != nil {
		return Health{Closed: true, Err: err}
	}
	h := Health{Reachable: true, Closed: l.drain.Err() != nil}
	l.holds.All(func(o *Hold) bool {
		h.Holds++
		if o.entry.Lease.AtRisk() {
			h.AtRisk++
		}
		return false
	})
	since, err := l.etcd.Silence()
	if from, why := l.leases.Trouble(); why != nil && time.Since(from) >= health.Lasting && (err == nil || from.Before(since)) {
		since, err = from, why
	}
	switch {
	case h.Closed:
		h.Err = ErrClosed
	case err != nil:
		h.Reachable, h.Since = false, since
		h.Err = fmt.Errorf("%w; last: %v", ErrUnavailable, err)
	case h.AtRisk > 0: // its renewals go over a way that has just broken, or the machine slept
		h.Err = fmt.Errorf("%w: holds at risk", ErrUnavailable)
	}
	return h
}
