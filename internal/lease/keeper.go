package lease

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/phpgao/elock/internal/clock"
	"github.com/phpgao/elock/internal/renewal"
	"github.com/phpgao/elock/internal/xctx"
)

// A schedule is what the keeper knows of a lease.
type schedule struct {
	next    clock.Instant // when to renew it
	sent    clock.Instant // when the last renewal was sent
	waiting bool          // for the answer to that
	fails   int           // how many in a row were not answered
	atRisk  bool          // as OnRisk was told last
	usedAt  clock.Instant // when the lease was last seen in use
}

const (
	// maxWake is the longest pause of the keeper; within it a machine that
	// slept is noticed.
	maxWake = time.Second
	// slack lets renewals that are due at about the same time go together.
	slack = 10 * time.Millisecond
	// overdue is how long an answer over a stream may take before the renewal
	// is sent over another one, for the first time.
	overdue = time.Second
)

// A keeper renews leases and ends them. One goroutine runs it.
type keeper struct {
	*Set
	leases []*Lease
	line   *renewal.Line[*Lease]
}

func (t *Set) keep() {
	k := &keeper{Set: t, line: renewal.New[*Lease](renewal.Config{
		Stream: t.cfg.Stream,
		Once:   t.cfg.Lease.KeepAliveOnce,
		Base:   t.cfg.Base,
		Spawn:  t.cfg.Spawn,
	})}
	defer k.line.Close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-t.cfg.Base.Done():
			return
		case <-t.wake:
		case <-timer.C:
		case a := <-k.line.Answers():
			k.line.Take(a, k.answered)
			for more := true; more; {
				select {
				case a := <-k.line.Answers():
					k.line.Take(a, k.answered)
				default:
					more = false
				}
			}
		}
		t.mu.Lock()
		k.leases = append(k.leases, t.added...)
		clear(t.added)
		t.added = t.added[:0]
		t.mu.Unlock()
		timer.Reset(k.tend(t.cfg.Now()))
	}
}

// tend looks after all leases, and returns when to do so again.
func (k *keeper) tend(now clock.Instant) time.Duration {
	wake := maxWake
	kept := k.leases[:0]
	var due []renewal.Request[*Lease]
	for _, s := range k.leases {
		r := &s.schedule
		left := s.remaining(now)
		switch {
		case s.ctx.Err() != nil:
			continue
		case left <= 0:
			k.lose(s, Overdue)
			continue
		case k.idle(s, now):
			k.mu.Lock()
			k.giveUp(s)
			k.mu.Unlock()
			k.cfg.Spawn(func() { k.discard(s) })
			continue
		}
		kept = append(kept, s)
		if r.waiting && r.sent.Add(s.patience()).Until(now) <= 0 {
			k.line.Overdue(s.id)
			k.failed(s, now, errOverdue)
			r.next = now
		}
		if !r.waiting && r.next.Until(now) <= slack {
			due = append(due, renewal.Request[*Lease]{Lease: s, ID: s.id, Context: s.ctx, Patience: s.patience()})
			r.waiting, r.sent = true, now
		}
		wake = min(wake, k.noteRisk(s, left))
		if r.waiting {
			wake = min(wake, r.sent.Add(s.patience()).Until(now))
		} else {
			wake = min(wake, r.next.Until(now))
		}
	}
	clear(k.leases[len(kept):])
	k.leases = kept
	if again, ok := k.line.Send(due, now); !ok {
		for _, d := range due {
			d.Lease.schedule.waiting, d.Lease.schedule.next = false, again
		}
		wake = min(wake, again.Until(now))
	}
	if len(kept) == 0 {
		k.line.Close()
	}
	return max(wake, time.Millisecond)
}

var errOverdue = errors.New("lease: no answer to a renewal")

// renewAt is when to renew a lease whose last renewal, or grant, was sent at that
// time: after a third of the TTL. Two waits of a quarter each still end before the
// deadline, at nine tenths.
func (s *Lease) renewAt(sent clock.Instant) clock.Instant { return sent.Add(s.ttl / 3) }

// patience is how long the answer to a renewal may take. Two of the longest fit
// between the time to renew and the deadline. Over a stream another may be tried
// earlier, as the answer to the first still counts.
func (s *Lease) patience() time.Duration {
	if s.set.cfg.Stream == nil {
		return s.ttl / 4
	}
	return min(s.ttl/4, overdue<<min(s.schedule.fails, 10))
}

// answered takes the answer to a renewal of s, or the error.
func (k *keeper) answered(s *Lease, sent clock.Instant, ttl int64, err error) {
	r := &s.schedule
	last := r.sent == sent
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound), err == nil && ttl <= 0:
		k.lose(s, Expired)
	case err != nil:
		if last && r.waiting {
			k.failed(s, k.cfg.Now(), err)
		}
	default:
		s.extend(sent, fromSeconds(ttl))
		if r.waiting = r.waiting && !last; !r.waiting {
			r.fails = 0
			s.trouble.Store(nil)
			r.next = s.renewAt(sent)
		}
	}
}

// failed notes that the last renewal of s was not answered.
func (k *keeper) failed(s *Lease, now clock.Instant, err error) {
	r := &s.schedule
	r.waiting = false
	r.next = now.Add(min(s.ttl/20, maxWake))
	sent := r.sent
	if old := s.trouble.Load(); old != nil {
		sent = old.sent
	}
	s.trouble.Store(&trouble{sent, err})
	if r.fails++; r.fails == 1 {
		left := s.remaining(now)
		k.cfg.Log.Warn("elock: lease not renewed; retrying", "lease", int64(s.id), "left", left, "err", err)
	}
}

// lose ends s on a goroutine of its own: hooks may run there.
func (k *keeper) lose(s *Lease, why Loss) {
	if !k.cfg.Spawn(func() { s.Lose(why) }) {
		s.end(nil)
	}
}

// idle retires s if nobody has used it for a while. One whose renewals are not answered stays until it is lost, and says so then.
func (k *keeper) idle(s *Lease, now clock.Instant) bool {
	r := &s.schedule
	if s.used.Swap(false) || s.users.Load() > 0 || s.trouble.Load() != nil {
		r.usedAt = now
		return false
	}
	if now.Mono-r.usedAt.Mono < k.cfg.KeepFor(s.seconds) {
		return false
	}
	return s.retire()
}

// discard revokes a retired lease. It tries until the lease has expired by
// itself; Revoke tries what is left.
func (k *keeper) discard(s *Lease) {
	wait := xctx.FirstPause
	for n := 0; s.Remaining() > -s.ttl/margin; n++ {
		ctx, cancel := context.WithTimeout(k.cfg.Base, xctx.Patience(n))
		err := k.revoke(ctx, s)
		cancel()
		switch {
		case err == nil:
			k.mu.Lock()
			k.given = slices.DeleteFunc(k.given, func(o *Lease) bool { return o == s })
			k.mu.Unlock()
			return
		case k.cfg.Base.Err() != nil:
			return
		}
		wait = xctx.Pause(k.cfg.Base, wait)
	}
}
