package locker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A lease is one lease in etcd, shared by all locks of a Locker with one TTL,
// with the goroutine that keeps it. When it ends, for whatever reason, so do
// all holds and waits under it.
//
// Its deadline counts from before the last answered request was sent, so it
// lies before the moment at which etcd lets the lease expire, however long the
// answer took and however late this process reads it.
type lease struct {
	l       *Locker
	seconds int64         // the TTL that was asked for
	asked   instant       // when
	ready   chan struct{} // closed when granted, or failed with err
	err     error         // why it could not be granted

	// ends when the lease does, with the cause; waits ends also when the
	// Locker takes no more acquires, and writes a little later: what is on its
	// way may be answered then.
	ctx, waits, writes context.Context
	endLease, endWaits context.CancelCauseFunc

	// set before ready is closed
	id          clientv3.LeaseID
	ttl         time.Duration // as granted
	put, putNew clientv3.Op   // to get key and value; put also returns what it replaces

	deadline atomic.Pointer[instant]
	lost     atomic.Int32 // the Reason; 0 while it lives

	users atomic.Int64 // claims that use it; far below 0 when it is retired
	used  atomic.Bool  // since the last renewal
	idle  int          // how many renewals ago it was used

	suspects []suspect // looked for after each renewal; guarded by Locker.mu
}

const retired = math.MinInt64 / 2

// join makes s the lease of one more claim. It fails if s is retired.
func (s *lease) join() bool {
	if !s.used.Load() {
		s.used.Store(true)
	}
	if s.users.Add(1) > 0 {
		return true
	}
	s.users.Add(-1)
	return false
}

func (s *lease) part() { s.users.Add(-1) }

// margin is the part of a TTL by which the deadline comes early. It covers the
// time to tell everyone, and clocks that run at different speeds.
const margin = 10

func newLease(l *Locker, seconds int64) *lease {
	s := &lease{l: l, seconds: seconds, asked: l.now(), ready: make(chan struct{})}
	s.ctx, s.endLease = context.WithCancelCause(l.ctx)
	s.waits, s.endWaits = context.WithCancelCause(l.drain)
	s.writes = after(s.waits, grace/2)
	return s
}

// remaining returns how long the lease surely lives if nothing more is heard.
func (s *lease) remaining() time.Duration {
	return s.deadline.Load().until(s.l.now())
}

// extend records that a request sent at that time was answered with ttl. A
// deadline that has passed stays: somebody may have seen that it did.
func (s *lease) extend(sent instant, ttl time.Duration) {
	if s.remaining() > 0 {
		d := sent.add(ttl - ttl/margin)
		s.deadline.Store(&d)
	}
}

// fromSeconds is a TTL as etcd gives it, cut to some 70 years so that a
// deadline does not overflow.
func fromSeconds(s int64) time.Duration {
	return time.Duration(min(s, math.MaxInt64/4/int64(time.Second))) * time.Second
}

// run grants the lease and keeps it until it ends.
func (s *lease) run() {
	err := s.grant()
	if err != nil {
		s.l.drop(s)
		s.err = err
	}
	close(s.ready)
	if err == nil {
		s.keep()
	}
}

func (s *lease) grant() error {
	ctx, cancel := patient(s.l.grants)
	defer cancel()
	sent := s.l.now()
	resp, err := s.l.leaser.Grant(ctx, s.seconds)
	switch {
	case err != nil && errors.Is(context.Cause(ctx), ErrUnavailable):
		return fmt.Errorf("%w (no lease granted by %v)", ErrUnavailable, s.l.client.Endpoints())
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	}
	s.id, s.ttl = resp.ID, fromSeconds(resp.TTL)
	s.putNew = clientv3.OpPut("", "", clientv3.WithLease(s.id))
	s.put = clientv3.OpPut("", "", clientv3.WithLease(s.id), clientv3.WithPrevKV())
	d := sent.add(s.ttl - s.ttl/margin)
	s.deadline.Store(&d)
	if resp.TTL != s.seconds {
		s.l.log.Info("elock: etcd granted another TTL", "asked", s.seconds, "granted", resp.TTL)
	}
	return nil
}

func (s *lease) keep() {
	var (
		sent    = s.l.now()           // when the last renewal was
		next    = sent.add(s.ttl / 3) // when to renew
		answer  = make(chan error, 1)
		pending bool
		failing bool
		timer   = time.NewTimer(0)
	)
	defer timer.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-timer.C:
		case err := <-answer:
			pending = false
			switch {
			case err == nil:
				failing = false
				next = sent.add(s.ttl / 3)
			case errors.Is(err, rpctypes.ErrLeaseNotFound):
				s.lose(LeaseExpired)
				return
			default:
				if !failing {
					s.l.log.Warn("elock: lease not renewed, trying on", "lease", int64(s.id), "left", s.remaining(), "err", err)
				}
				failing = true
				next = s.l.now().add(min(s.ttl/20, maxWake))
			}
		}
		left := s.remaining()
		if left <= 0 {
			s.lose(Deadline)
			return
		}
		now := s.l.now()
		if !pending && next.until(now) <= 0 {
			if s.l.retire(s) {
				return
			}
			pending, sent = true, now
			s.l.spawn(func() {
				err := s.renew()
				answer <- err
				if err == nil {
					s.l.catchSuspects(s)
				}
			})
		}
		// Timers stand still while the machine sleeps: look at the clocks
		// at least every second.
		wake := min(left, maxWake)
		if !pending {
			wake = min(wake, next.until(now))
		}
		timer.Reset(wake)
	}
}

// renew asks etcd to keep the lease alive. Two attempts that get no answer fit
// between the time to renew and the deadline.
func (s *lease) renew() error {
	ctx, cancel := context.WithTimeout(s.ctx, s.ttl/4)
	defer cancel()
	sent := s.l.now()
	resp, err := s.l.leaser.KeepAliveOnce(ctx, s.id)
	if err != nil {
		return err
	}
	s.extend(sent, fromSeconds(resp.TTL))
	return nil
}

// lose ends the lease and everything under it. Only the first call counts.
func (s *lease) lose(why Reason) {
	holds, ok := s.l.markLost(s, why)
	if !ok {
		return
	}
	s.stop(&LostError{Reason: why})
	n := endAll(holds, func(h *Hold) error { return &LostError{Reason: why, Token: h.token} })
	s.l.log.Warn("elock: lease lost", "lease", int64(s.id), "reason", why.String(), "holds", n, "owner", s.l.owner)
}

func (s *lease) stop(cause error) {
	s.endWaits(cause)
	s.endLease(cause)
}
