package lease

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/clock"
	"github.com/phpgao/elock/internal/etcderr"
	"github.com/phpgao/elock/internal/xctx"
)

// A pool is the leases of one TTL.
type pool struct {
	set     *Set
	seconds int64
	current atomic.Pointer[Lease] // takes users until it is full

	mu       sync.Mutex // guards what follows
	all      []*Lease
	granting int  // how many are on their way
	gone     bool // the set has forgotten it
}

// suits reports whether a lease of so many seconds is one for that TTL: it may
// be an eighth longer, so that callers with a TTL of their own each share some.
func suits(seconds, ttl int64) bool { return seconds >= ttl && seconds <= ttl+ttl/8 }

// exactPools is how many pools have just the TTL that their first caller asked for.
// A further one has that TTL rounded up, so that there are at most eight between a
// power of two and the next.
const exactPools = 8

// rounded rounds a TTL up, by an eighth at most, so that there are few.
func rounded(seconds int64) int64 {
	step := int64(1) << max(0, bits.Len64(uint64(seconds))-4)
	return (seconds + step - 1) / step * step
}

// Use returns a lease for a TTL in seconds, and grants one first if there is
// none. The caller must call Part. ctx bounds the wait. If etcd is silent for 5
// seconds the error is that of Config.Silent.
func (t *Set) Use(ctx context.Context, seconds int64) (*Lease, error) {
	began := t.cfg.Now()
	for wait := xctx.FirstPause; ; wait = xctx.Pause(ctx, wait) {
		s, err := t.lease(ctx, seconds)
		if err != nil {
			return nil, err
		}
		select {
		case <-s.ready:
			err = s.err
		case <-ctx.Done():
			err = ctx.Err()
		case <-t.cfg.Drain.Done():
			err = context.Cause(t.cfg.Drain)
		}
		if err == nil {
			return s, nil
		}
		s.Part()
		if ctx.Err() != nil || t.cfg.Drain.Err() != nil {
			return nil, err
		}
		// A grant that is silent is tried again only if it began before this call.
		if !etcderr.Passing(err) && !(errors.Is(err, t.cfg.Silent) && s.asked.Mono < began.Mono) {
			return nil, err
		}
	}
}

// lease returns a lease for a TTL, perhaps one on its way, with one more user.
func (t *Set) lease(ctx context.Context, seconds int64) (*Lease, error) {
	if p, ok := t.pools.Load(seconds); ok {
		if s := p.(*pool).current.Load(); s != nil && s.join(t.cfg.MaxKeys) {
			return s, nil
		}
	}
	for {
		t.mu.Lock()
		if t.closed || t.cfg.Drain.Err() != nil {
			t.mu.Unlock()
			return nil, context.Cause(t.cfg.Drain)
		}
		p := t.poolFor(seconds)
		t.mu.Unlock()
		if s := p.take(); s != nil {
			return s, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// poolFor returns the pool for a TTL, or one whose leases suit it. The caller
// holds mu.
func (t *Set) poolFor(seconds int64) *pool {
	if p, ok := t.pools.Load(seconds); ok {
		return p.(*pool)
	}
	var near *pool
	pools := 0
	t.pools.Range(func(of, p any) bool {
		pools++
		if suits(of.(int64), seconds) && (near == nil || p.(*pool).seconds < near.seconds) {
			near = p.(*pool)
		}
		return true
	})
	if near == nil {
		if pools >= exactPools {
			seconds = rounded(seconds)
		}
		near = &pool{set: t, seconds: seconds}
		t.pools.Store(seconds, near)
	}
	return near
}

// take returns a lease with one more user: the current one, the emptiest, or
// one that is granted now. A lease takes more than MaxKeys only for the moment
// in which a further one is granted. It returns nil if p is forgotten.
func (p *pool) take() *Lease {
	limit := p.set.cfg.MaxKeys
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return nil
	}
	if s := p.current.Load(); s != nil && s.join(limit) {
		return s
	}
	best := p.best()
	users := int64(0)
	if best != nil {
		users = best.users.Load()
	}
	// full: best takes nobody more. One that is granted takes up to twice the limit.
	full := best == nil || users >= limit && (!best.isReady() || users >= 2*limit)
	if full || users >= limit*3/4 && p.granting == 0 {
		if s := p.set.grant(p); s == nil || full {
			best = s
		}
	}
	if best == nil || !best.Join() {
		return nil
	}
	p.current.Store(best)
	return best
}

// best returns the lease with the fewest users, one that is granted if it has
// room. The caller holds mu.
func (p *pool) best() (best *Lease) {
	limit := p.set.cfg.MaxKeys
	rank := func(s *Lease) int64 {
		n := s.users.Load()
		if n < limit && !s.isReady() {
			n += limit
		}
		return n
	}
	for _, s := range p.all {
		if s.users.Load() >= 0 && (best == nil || rank(s) < rank(best)) {
			best = s
		}
	}
	return best
}

// isReady reports whether the lease is granted, or refused.
func (s *Lease) isReady() bool {
	select {
	case <-s.ready:
		return true
	default:
		return false
	}
}

// grant begins to grant a lease. The caller holds p.mu.
func (t *Set) grant(p *pool) *Lease {
	s := &Lease{set: t, pool: p, seconds: p.seconds, asked: t.cfg.Now(), ready: make(chan struct{})}
	s.ctx, s.endLease = context.WithCancelCause(t.cfg.Base)
	s.waits, s.endWaits = context.WithCancelCause(t.cfg.Drain)
	s.writes = xctx.NewLimiter(xctx.After(s.waits, writesGrace))
	p.all = append(p.all, s)
	p.granting++
	// Nothing is left when the process has ended meanwhile.
	if !t.cfg.Spawn(s.begin) {
		p.all = slices.DeleteFunc(p.all, func(o *Lease) bool { return o == s })
		p.granting--
		s.end(nil)
		return nil
	}
	return s
}

// begin grants the lease, and hands it to the keeper.
func (s *Lease) begin() {
	t, p := s.set, s.pool
	s.err = s.grant()
	p.mu.Lock()
	p.granting--
	p.mu.Unlock()
	if s.err != nil {
		p.remove(s)
		s.end(s.err)
		close(s.ready)
		return
	}
	t.mu.Lock()
	t.added = append(t.added, s)
	begin := !t.started
	t.started = true
	t.mu.Unlock()
	close(s.ready)
	if begin {
		t.cfg.Spawn(t.keep)
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (s *Lease) grant() error {
	t := s.set
	ctx, cancel := context.WithTimeoutCause(t.cfg.Grants, grantPatience, t.cfg.Silent)
	defer cancel()
	wait := xctx.FirstPause
	var last error // that is not of a context: it says why there is no answer
	for n := 0; ; n++ {
		try, end := context.WithTimeout(ctx, xctx.Patience(n))
		sent := t.cfg.Now()
		resp, err := t.cfg.Lease.Grant(try, s.seconds)
		late := try.Err() != nil && ctx.Err() == nil
		end()
		switch {
		case err == nil:
			s.granted(sent, resp)
			return nil
		case ctx.Err() != nil && last != nil:
			return fmt.Errorf("%w; last: %v", context.Cause(ctx), last)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !late && !etcderr.Passing(err):
			return err
		case !late:
			last = err
		}
		wait = xctx.Pause(ctx, wait)
	}
}

func (s *Lease) granted(sent clock.Instant, resp *clientv3.LeaseGrantResponse) {
	s.id, s.ttl = resp.ID, fromSeconds(resp.TTL)
	s.putNew = clientv3.OpPut("", "", clientv3.WithLease(s.id))
	s.put = clientv3.OpPut("", "", clientv3.WithLease(s.id), clientv3.WithPrevKV())
	d := sent.Add(s.ttl - s.ttl/margin)
	s.deadline.Store(&d)
	s.schedule.next = s.renewAt(sent)
	s.schedule.usedAt = sent
	if resp.TTL != s.seconds {
		s.set.cfg.Log.Info("elock: etcd granted another TTL", "asked", s.seconds, "granted", resp.TTL)
	}
}

// remove makes the pool forget s.
func (p *pool) remove(s *Lease) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = slices.DeleteFunc(p.all, func(o *Lease) bool { return o == s })
	p.current.CompareAndSwap(s, nil)
	if len(p.all) == 0 {
		p.gone = true
		p.set.pools.CompareAndDelete(p.seconds, p)
	}
}

// each calls f, which must not wait, for all leases.
func (p *pool) each(f func(*Lease)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.all {
		f(s)
	}
}

func (p *pool) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.all)
}

// empty takes all leases that were granted out of the pool.
func (p *pool) empty() (all []*Lease) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.all {
		if s.isReady() && s.err == nil {
			all = append(all, s)
		}
	}
	p.all, p.gone = nil, true
	p.current.Store(nil)
	return all
}

// retire ends s if it has no user. It reports whether it did.
func (s *Lease) retire() bool {
	if !s.users.CompareAndSwap(0, retired) {
		return false
	}
	s.pool.remove(s)
	s.end(nil)
	return true
}

// revoke revokes s in etcd. It tries until ctx ends, or etcd refuses it. Each try
// has its patience: of many revocations at once, the same one may meet a silent
// member again and again.
func (t *Set) revoke(ctx context.Context, s *Lease) error {
	wait := xctx.FirstPause
	for n := 0; ; n++ {
		try, cancel := context.WithTimeout(ctx, xctx.Patience(n))
		_, _, _, err := xctx.Twice(try, revokeAgain, func(ctx context.Context) (*clientv3.LeaseRevokeResponse, error) {
			return t.cfg.Lease.Revoke(ctx, s.id)
		})
		silent := try.Err() != nil
		cancel()
		switch {
		case err == nil, errors.Is(err, rpctypes.ErrLeaseNotFound):
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !silent && !etcderr.Passing(err):
			return err
		}
		wait = xctx.Pause(ctx, wait)
	}
}

const (
	// grantPatience bounds a grant.
	grantPatience = 5 * time.Second
	// revokeAgain is when a revocation is sent again that is not answered.
	revokeAgain = 500 * time.Millisecond
	// writesGrace is how much later Writes ends than Waits.
	writesGrace = 250 * time.Millisecond
)
