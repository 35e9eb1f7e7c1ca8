package lease

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/clock"
	"github.com/phpgao/elock/internal/xctx"
)

// A Loss says how a lease ended early. 0 means that it did not.
type Loss int32

const (
	// Expired: etcd does not know the lease any more.
	Expired Loss = iota + 1
	// Overdue: no renewal was answered before the deadline.
	Overdue
)

func (w Loss) String() string {
	switch w {
	case Expired:
		return "expired"
	case Overdue:
		return "not renewed in time"
	}
	return "alive"
}

// A Lease is one lease in etcd, shared by several users. Its methods may be
// called from several goroutines.
type Lease struct {
	set     *Set
	pool    *pool
	seconds int64         // the TTL that was asked for
	asked   clock.Instant // when
	ready   chan struct{} // closed when it is granted, or failed with err
	err     error         // why it could not be granted

	// ctx ends when the lease does. waits ends also when the Set takes no more
	// users. writes ends a little later: what is on its way may be answered then.
	ctx, waits         context.Context
	writes             *xctx.Limiter
	endLease, endWaits context.CancelCauseFunc

	// set before ready is closed
	id          clientv3.LeaseID
	ttl         time.Duration // as granted
	put, putNew clientv3.Op

	deadline atomic.Pointer[clock.Instant]
	lost     atomic.Int32 // a Loss
	users    atomic.Int64 // far below 0 when the lease is retired
	used     atomic.Bool  // since the keeper last looked

	trouble  atomic.Pointer[trouble] // nil while renewals are answered
	schedule schedule                // of the keeper
}

// retired is the value of users in a lease that takes no more: so low that Joins
// which race with it stay below 0.
const retired = math.MinInt64 / 2

// margin is the part of a TTL by which the deadline comes early. It covers the
// time that it takes to end all holds, and clocks that run at different speeds.
const margin = 10

// ID is etcd's name of the lease.
func (s *Lease) ID() clientv3.LeaseID { return s.id }

// Seconds is the TTL that was asked for.
func (s *Lease) Seconds() int64 { return s.seconds }

// Suits reports whether the lease is one for that TTL.
func (s *Lease) Suits(seconds int64) bool { return suits(s.seconds, seconds) }

// Put returns an operation that puts under the lease, and returns what it
// replaces. The caller sets key and value.
func (s *Lease) Put() clientv3.Op { return s.put }

// PutNew is Put for a key that is not there.
func (s *Lease) PutNew() clientv3.Op { return s.putNew }

// Context ends when the lease does, with the cause.
func (s *Lease) Context() context.Context { return s.ctx }

// Waits ends with the lease, or when the Set takes no more users.
func (s *Lease) Waits() context.Context { return s.waits }

// Writes limits writes under the lease. They end a little later than Waits.
func (s *Lease) Writes() *xctx.Limiter { return s.writes }

// Lost returns how the lease ended early; 0 while it has not.
func (s *Lease) Lost() Loss { return Loss(s.lost.Load()) }

// Remaining returns how long the lease surely lives if nothing more is heard.
func (s *Lease) Remaining() time.Duration { return s.remaining(s.set.cfg.Now()) }

func (s *Lease) remaining(now clock.Instant) time.Duration { return s.deadline.Load().Until(now) }

// Join adds a user, even to a full lease. It fails if the lease is retired.
func (s *Lease) Join() bool { return s.join(math.MaxInt64) }

func (s *Lease) join(limit int64) bool {
	n := s.users.Add(1)
	if n <= 0 || n > limit {
		s.users.Add(-1)
		return false
	}
	if !s.used.Load() {
		s.used.Store(true)
	}
	return true
}

// Part takes a user away.
func (s *Lease) Part() { s.users.Add(-1) }

// extend records that a request sent at that time was answered with ttl. A
// deadline that has passed stays: somebody may have seen that it did.
func (s *Lease) extend(sent clock.Instant, ttl time.Duration) {
	now := s.set.cfg.Now()
	d := sent.Add(ttl - ttl/margin)
	if old := s.deadline.Load(); old.Until(now) > 0 && d.Mono > old.Mono {
		s.deadline.Store(&d)
	}
}

// fromSeconds is a TTL as etcd gives it, cut to some 70 years so that a
// deadline does not overflow.
func fromSeconds(s int64) time.Duration {
	return time.Duration(min(s, math.MaxInt64/4/int64(time.Second))) * time.Second
}

// Lose ends the lease. Only the first call counts; it calls OnLost.
func (s *Lease) Lose(why Loss) {
	if !s.set.markLost(s, why) {
		return
	}
	cause := s.set.cfg.Cause(why)
	s.end(cause)
	s.set.cfg.OnLost(s, why)
}

func (s *Lease) end(cause error) {
	s.endWaits(cause)
	s.endLease(cause)
}
