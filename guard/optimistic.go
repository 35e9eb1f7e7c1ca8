package guard

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/optimistic"
	"github.com/phpgao/elock/locker"
)

// Optimistic has Update and Delete change a Stored or Optional value without its lock, as
// long as nobody else wants that. They read the value, and commit in one transaction of
// etcd that requires that nobody holds the lock or waits for it, and that the value is the
// one that was read. If that fails once, or if others are in the queue, they take the lock
// as ever, so an update is not starved. Several goroutines of one Locker do not compete:
// one of them goes on without the lock, and the others queue for it. A value that this
// Locker has written last is not read again: then the commit is the only transaction.
// A value that is not there is stored under the lock.
//
// What this gives up:
//
//   - The functions of two callers in different processes may run at the same time. One of
//     them runs in vain: its result is dropped, and it runs again. A function may run three
//     times, with what this process knew, what was stored then, and what is stored under the
//     lock. So it must do nothing but compute the next value.
//   - While it runs without the lock, locker.HoldFrom knows no hold of the key, and there is
//     no token. Hooks, the success callback and the monitor see nothing of it, and the
//     maximum held time does not count. Other goroutines of the Locker wait for it all the
//     same, and so does Shutdown; an acquire of the key under its context is ErrDeadlock.
//   - Nobody is ahead or behind in a queue that is empty, so processes that update at the
//     same time are served in no order.
//   - The answer to a commit without the lock leaves no trace in etcd but the value. If it
//     is lost, the error is locker.ErrOutcomeUnknown, unless etcd shows that somebody else's
//     write came first, or that nobody's did: then the update is carried out under the lock.
//
// The revision of the value grows with every commit, with the lock or without. Update2,
// UpdateN, View, Run and TryRun take locks as ever, and exclude updates without. So does
// every call under options of Acquiring other than TTL and MaxHeld. The option needs a
// Stored or Optional value; with any other, every call is locker.ErrInvalidOption.
func Optimistic[T any]() Option[T] {
	return func(g *Guard[T]) { g.optimistic = true }
}

// errTakeLock says that nothing was changed without the lock.
var errTakeLock = errors.New("guard: the lock is to be taken")

// A doubt is about a commit without the lock that was carried out, or not, or may yet be.
type doubt struct {
	from   *mvccpb.KeyValue // what it was to change
	change change
}

// alone changes the value without the lock: to what next makes of it. The error is
// errTakeLock if nothing was changed and the lock must be taken for it. With a doubt, it
// is not known whether the value was changed.
func (s stored[T]) alone(ctx context.Context, next func(ctx context.Context, from *mvccpb.KeyValue) (change, error)) (*doubt, error) {
	if !s.g.optimistic {
		return nil, errTakeLock
	}
	a := optimistic.Of[locker.AcquireOption](s.g.locker.Context()).Begin(ctx, s.g.key, s.g.opts)
	if a == nil {
		return nil, errTakeLock
	}
	defer a.End()
	under, cancel := a.Context(ctx)
	defer cancel()
	for a.Load(ctx) {
		from, read := a.From()
		c, err := next(under, from)
		switch closed := s.g.locker.Context(); {
		case err != nil:
		case closed.Err() != nil:
			err = fmt.Errorf("%w: %w", ErrFenced, context.Cause(closed))
		case ctx.Err() != nil:
			err = ctxError(ctx)
		}
		if err != nil {
			if read || ctx.Err() != nil {
				return nil, err
			}
			if !a.Read(ctx) {
				return nil, errTakeLock
			}
			if now, _ := a.From(); now.GetModRevision() != from.GetModRevision() {
				continue // err is about a value that is another now
			}
			return nil, err
		}
		if c.none() {
			return nil, nil
		}
		switch a.Commit(ctx, c.op()) {
		case optimistic.Done:
			return nil, nil
		case optimistic.InDoubt:
			return &doubt{from, c}, errTakeLock
		case optimistic.Changed:
			if !read {
				continue
			}
		}
		return nil, errTakeLock
	}
	return nil, errTakeLock
}

// settle finds out under the lock what became of d: the value is now. It returns nil if the
// commit was not carried out and never will be, and d if it was not but may yet be, unless
// the value changes first. If etcd does not tell, the error is locker.ErrOutcomeUnknown.
func (s stored[T]) settle(ctx context.Context, d *doubt, now *mvccpb.KeyValue) (*doubt, error) {
	switch {
	case now.GetModRevision() == d.from.GetModRevision():
		return d, nil
	case now == nil || now.CreateRevision != d.from.GetCreateRevision():
		return d, outcomeUnknown(nil)
	}
	// The commit could only be the first change.
	for n := 0; now.Version > d.from.Version+1; n++ {
		var err error
		if now, err = s.at(ctx, now.ModRevision-1); err != nil || now == nil || n == maxPast {
			return d, outcomeUnknown(err)
		}
	}
	if !d.change.deletes && bytes.Equal(now.Value, d.change.data) {
		return d, outcomeUnknown(nil) // somebody else may have stored the same
	}
	return nil, nil
}

// maxPast is how many versions are looked at to find out what became of a commit.
const maxPast = 16

// at returns what the value was at a revision of etcd.
func (s stored[T]) at(ctx context.Context, rev int64) (*mvccpb.KeyValue, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, locker.ErrUnavailable)
	defer cancel()
	kv, _, err := s.persist(ctx, []clientv3.OpOption{clientv3.WithRev(rev)})
	return kv, err
}

// outcomeUnknown returns err as that of a change of which it is not known whether it was made.
func outcomeUnknown(err error) error {
	switch {
	case err == nil:
		return locker.ErrOutcomeUnknown
	case errors.Is(err, locker.ErrOutcomeUnknown):
		return err
	case errors.Is(err, ErrFenced): // only the commit under the lock was
		return fmt.Errorf("%w: %v", locker.ErrOutcomeUnknown, err)
	}
	return fmt.Errorf("%w: %w", locker.ErrOutcomeUnknown, err)
}
