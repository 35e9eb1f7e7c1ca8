package locker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/phpgao/elock/internal/place"
)

// errSlowEnd says why a lock was not kept.
var errSlowEnd = errors.New("a hook or a call to etcd takes too long")

// closePatience is how long Close waits for etcd.
const closePatience = 3 * time.Second

// Shutdown refuses new acquires, ends those that wait with ErrClosed, waits
// until every hold is released, and then calls Close, which has a bound of its
// own. If ctx ends first it returns the context's error: the holds go on,
// acquires stay refused, and Close may still be called.
func (l *Locker) Shutdown(ctx context.Context) error {
	if err := l.check(); err != nil {
		return &Error{Op: "shutdown", Err: err}
	}
	l.stopAcquires(ErrClosed)
	if !l.entries.Lanes.Drain(ctx) {
		return &Error{Op: "shutdown", Err: ctxError(ctx)}
	}
	return l.Close()
}

// Close ends every wait and every hold now, with ErrClosed, revokes the
// Locker's leases, and with them deletes all its keys. It does not wait for
// functions that run under a lock: see Shutdown. The client stays open.
//
// Close returns within 3 seconds or so when etcd cannot be reached, with an
// error that says which leases it left to expire. It may be repeated, and then
// tries again to revoke those. It waits for hooks that run.
//
// A lock that is to stay taken, as AtLeast says, does so: Close waits until etcd knows
// that. An error says which locks it has freed too early, as etcd did not take it.
func (l *Locker) Close() error {
	if err := l.made(); err != nil {
		return &Error{Op: "close", Err: err}
	}
	l.closeTurn <- struct{}{}
	defer func() { <-l.closeTurn }()

	l.stopAcquires(ErrClosed)
	l.mu.Lock()
	l.closed.Store(true)
	l.mu.Unlock()
	holds := l.holds.All(func(*Hold) bool { return true })
	endAll(holds, func(*Hold) error { return ErrClosed })
	l.lingerAll(holds)

	ctx, cancel := context.WithTimeoutCause(context.Background(), closePatience, ErrUnavailable)
	defer cancel()
	stop := time.AfterFunc(closePatience/2, func() { l.stopGrants(ErrClosed) })
	for _, h := range l.unkept.Await(l.grants) {
		l.freesEarly(h, errSlowEnd)
	}
	l.stopAll(ErrClosed)
	l.goroutines.Wait()
	stop.Stop()
	l.stopGrants(ErrClosed)

	left, err := l.leases.Revoke(ctx)
	l.mu.Lock()
	l.waited = true
	early := l.early
	l.early = nil
	l.mu.Unlock()
	l.hooked.Wait()
	if len(left) > 0 {
		early = append(early, fmt.Errorf("leases %x left to expire: %w", left, err))
	}
	if err := errors.Join(early...); err != nil {
		return &Error{Op: "close", Err: err}
	}
	return nil
}

// lingerAll has the entries stay of holds that Close has ended, where AtLeast says so.
func (l *Locker) lingerAll(holds []*Hold) {
	for _, h := range holds {
		if h.endCause() != ErrClosed || !h.lingers() {
			continue
		}
		l.goroutines.Go(func() {
			if err := h.stay.Move(l.grants); err != nil && err != place.ErrDisplaced {
				l.freesEarly(h, err)
			}
		})
	}
}
