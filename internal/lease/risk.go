package lease

import (
	"time"

	"github.com/phpgao/elock/internal/clock"
)

// riskPart is the part of its TTL that is left of a lease at risk. A renewal is due while more than half of the TTL is left, and sent
// again a quarter later at most: one that is lost puts no lease at risk.
const riskPart = 4

// AtRisk reports whether renewals are so long overdue that a quarter of the TTL is left before the deadline, or less, by the clocks.
func (s *Lease) AtRisk() bool { return s.atRisk(s.Remaining()) }

func (s *Lease) atRisk(left time.Duration) bool { return left <= s.ttl/riskPart }

// noteRisk calls OnRisk if that has changed since the last call. It returns when it may change next, if nothing is answered.
func (k *keeper) noteRisk(s *Lease, left time.Duration) time.Duration {
	if at := s.atRisk(left); at != s.schedule.atRisk {
		s.schedule.atRisk = at
		k.cfg.Spawn(func() { k.cfg.OnRisk(s) })
	}
	if s.schedule.atRisk {
		return left
	}
	return left - s.ttl/riskPart
}

// A trouble says when the first renewal of a lease was sent that is not answered, and nothing since, and why not.
type trouble struct {
	sent clock.Instant
	err  error
}

func (t *trouble) since() time.Time { return time.Unix(0, int64(t.sent.Wall)) }

// Unheard returns when the first renewal was sent since which none of the lease was answered, and the last error of one; nil if all are.
func (s *Lease) Unheard() (sent clock.Instant, err error) {
	if now := s.trouble.Load(); now != nil {
		return now.sent, now.err
	}
	return clock.Instant{}, nil
}

// Trouble returns since when renewals of some lease are not answered, and the last error of one; the zero time if all are.
func (t *Set) Trouble() (since time.Time, err error) {
	t.pools.Range(func(_, p any) bool {
		p.(*pool).each(func(s *Lease) {
			if now := s.trouble.Load(); now != nil && (since.IsZero() || now.since().Before(since)) {
				since, err = now.since(), now.err
			}
		})
		return true
	})
	return since, err
}
