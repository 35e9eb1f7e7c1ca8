package locker

import (
	"context"
	"errors"
	"slices"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// use returns the lease for a TTL, granting it first if there is none. The
// caller must call part.
func (l *Locker) use(ctx context.Context, seconds int64) (*lease, error) {
	began := l.now()
	for {
		s, err := l.lease(seconds)
		if err != nil {
			return nil, err
		}
		select {
		case <-s.ready:
			err = s.err
		case <-ctx.Done():
			err = ctxError(ctx)
		case <-l.drain.Done():
			err = ErrClosed
		}
		if err == nil {
			return s, nil
		}
		s.part()
		if !errors.Is(err, ErrUnavailable) || s.asked.mono >= began.mono {
			return nil, err
		}
		// It was asked for before, on behalf of somebody else: ask again.
	}
}

// lease returns the lease for a TTL with one more user.
func (l *Locker) lease(seconds int64) (*lease, error) {
	if s, ok := l.leases.Load(seconds); ok && s.(*lease).join() {
		return s.(*lease), nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Load() || l.drain.Err() != nil {
		return nil, ErrClosed
	}
	if s, ok := l.leases.Load(seconds); ok && s.(*lease).join() {
		return s.(*lease), nil
	}
	s := newLease(l, seconds)
	s.join()
	l.leases.Store(seconds, s)
	l.goroutines.Go(s.run)
	return s, nil
}

// drop makes the next acquire get another lease.
func (l *Locker) drop(s *lease) { l.leases.CompareAndDelete(s.seconds, s) }

// markLost records that s ended. It returns the holds under it, and false if
// that was recorded before or the Locker is closed.
func (l *Locker) markLost(s *lease, why Reason) (holds []*Hold, ok bool) {
	l.mu.Lock()
	if l.closed.Load() || !s.lost.CompareAndSwap(0, int32(why)) {
		l.mu.Unlock()
		return nil, false
	}
	l.drop(s)
	if why == Deadline {
		l.strayLocked(s)
	}
	l.mu.Unlock()
	return l.holds.all(func(h *Hold) bool { return h.claim.lease == s }), true
}

// retire ends s if nobody has used it for a whole TTL. It is called every
// third of one.
func (l *Locker) retire(s *lease) bool {
	if s.used.Swap(false) || s.users.Load() > 0 {
		s.idle = 0
		return false
	}
	if s.idle++; s.idle < 3 || !s.users.CompareAndSwap(0, retired) {
		return false
	}
	l.drop(s)
	s.stop(nil)
	ctx := l.detached(l.ctx)
	defer ctx.stop()
	if err := l.revokeLease(ctx, s.id); err != nil {
		l.stray(s)
	}
	return true
}

// stray remembers a lease for Close, and forgets those that expired long ago.
func (l *Locker) stray(s *lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.strayLocked(s)
}

func (l *Locker) strayLocked(s *lease) {
	l.strays = slices.DeleteFunc(l.strays, func(s *lease) bool { return s.remaining() < -s.ttl })
	l.strays = append(l.strays, s)
}

// gaveUp reports whether kv is under a lease that was given up.
func (l *Locker) gaveUp(kv *mvccpb.KeyValue) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.strays, func(s *lease) bool { return int64(s.id) == kv.Lease })
}

// revoke revokes all leases, and returns those that may have outlived it, with
// the reason for one of them.
func (l *Locker) revoke(ctx context.Context) (left []clientv3.LeaseID, err error) {
	l.mu.Lock()
	all := l.strays
	l.strays = nil
	l.leases.Range(func(_, s any) bool {
		all = append(all, s.(*lease))
		return true
	})
	l.leases.Clear()
	l.mu.Unlock()

	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, s := range all {
		wg.Go(func() { errs[i] = l.revokeLease(ctx, s.id) })
	}
	wg.Wait()
	for i, e := range errs {
		if e != nil {
			err = e
			left = append(left, all[i].id)
			l.stray(all[i])
		}
	}
	return left, err
}

func (l *Locker) revokeLease(ctx context.Context, id clientv3.LeaseID) error {
	_, err := l.leaser.Revoke(ctx, id)
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return nil
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return err
}
