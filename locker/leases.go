package locker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/phpgao/elock/internal/clock"
	"github.com/phpgao/elock/internal/lease"
)

func (l *Locker) newLeases() *lease.Set {
	return lease.NewSet(lease.Config{
		Lease:   l.etcd.Lease(),
		Stream:  l.etcd.Renewals(),
		Base:    l.ctx,
		Drain:   l.drain,
		Grants:  l.grants,
		Spawn:   l.spawn,
		Now:     func() clock.Instant { return l.now() },
		Cause:   func(why lease.Loss) error { return &LostError{Reason: reasonOf(why)} },
		OnLost:  l.leaseLost,
		OnRisk:  l.leaseRisk,
		Silent:  ErrUnavailable,
		KeepFor: l.keepLease,
		Log:     l.log,
	})
}

// use returns a lease for a TTL, granting it first if there is none. The caller
// must call Part.
func (l *Locker) use(ctx context.Context, seconds int64) (*lease.Lease, error) {
	s, err := l.leases.Use(ctx, seconds)
	switch {
	case err == nil:
		return s, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%w (no lease granted by %v)", silent(ctxError(ctx)), l.client.Endpoints())
	case errors.Is(err, ErrUnavailable):
		return nil, fmt.Errorf("%w (no lease granted by %v)", err, l.client.Endpoints())
	}
	return nil, err
}

const (
	// idleLease is how long a lease stays that nobody uses.
	idleLease = 5 * time.Second
	// idleDefault is how long one with the TTL of WithTTL stays at most.
	idleDefault = time.Minute
)

// keepLease returns how long a lease with that TTL stays unused. One of the
// Locker's own TTL stays longer, for callers that come now and then.
func (l *Locker) keepLease(seconds int64) time.Duration {
	ttl := time.Duration(seconds) * time.Second
	if own, err := wholeSeconds(l.ttl); err == nil && own == seconds {
		return max(min(ttl, idleDefault), min(ttl, idleLease))
	}
	return min(ttl, idleLease)
}

// leaseLost ends all holds under a lease.
func (l *Locker) leaseLost(s *lease.Lease, why lease.Loss) {
	reason := reasonOf(why)
	if sent, err := s.Unheard(); why == lease.Overdue && err != nil {
		l.etcd.Unheard(sent, err) // the lease's own trouble goes with it
	}
	holds := l.holds.All(func(h *Hold) bool { return h.entry.Lease == s })
	n := endAll(holds, func(h *Hold) error { return &LostError{Reason: reason, Token: h.token} })
	l.log.Warn("elock: lease lost", "lease", int64(s.ID()), "reason", reason.String(), "holds", n, "owner", l.owner)
}
