package locker

import (
	"errors"
	"fmt"

	"github.com/phpgao/elock/internal/inspect"
	"github.com/phpgao/elock/internal/lease"
	"github.com/phpgao/elock/internal/xctx"
	"github.com/phpgao/elock/keyspace"
)

var (
	// ErrLocked says that somebody else holds the lock, or waits for it. An
	// acquire whose context ends while it waits for others matches it and the
	// context's error.
	ErrLocked = errors.New("locker: lock is held")
	// ErrLost says that the hold ended before its owner released it. The
	// error is a *LostError.
	ErrLost = errors.New("locker: lock lost")
	// ErrMaxHeld says that the monitor ended the hold because it lasted
	// longer than it may.
	ErrMaxHeld = errors.New("locker: lock held longer than allowed")
	// ErrReleased is the cause of a hold's context after Release.
	ErrReleased = errors.New("locker: lock released")
	// ErrNotHeld says that a key is not locked by the caller's Locker, though
	// it should be: in elock's Unlock, and in lockertest's Lose.
	ErrNotHeld = errors.New("locker: lock is not held")
	// ErrForeignHolder says that the holder of a lock cannot be asked for it, as it uses another
	// library.
	ErrForeignHolder = inspect.ErrForeign
	// ErrClosed says that the Locker is closed or shutting down.
	ErrClosed = errors.New("locker: closed")
	// ErrUnavailable says that etcd did not answer in time: before the caller's
	// context ended (then the error matches the context's error too), in 5 seconds,
	// in the 3 that Close waits, or, of an acquire, for as long as Acquire says.
	ErrUnavailable = errors.New("locker: etcd did not answer in time")
	// ErrOutcomeUnknown says that etcd did not answer in time whether it
	// carried out a Commit.
	ErrOutcomeUnknown = errors.New("locker: outcome of the commit is unknown")
	// ErrDeadlock says that the context passed to Acquire already holds the
	// lock, so that waiting for it would never end.
	ErrDeadlock = errors.New("locker: lock is already held by this context")
	// ErrNotWaiting says that Promote found no waiter of that owner, or none that
	// it can have be the next.
	ErrNotWaiting = inspect.ErrNotWaiting
	// ErrInvalidTTL says that a TTL is not positive, or above etcd's maximum
	// of 9,000,000,000 seconds. It matches ErrInvalidOption too.
	ErrInvalidTTL error = &kind{"locker: invalid TTL", ErrInvalidOption}
	// ErrInvalidOption says that an option or argument is out of its range.
	ErrInvalidOption = errors.New("locker: invalid option")
)

// A kind is an error that matches a more general one.
type kind struct {
	text string
	of   error
}

func (k *kind) Error() string { return k.text }
func (k *kind) Unwrap() error { return k.of }

// An Error says which operation failed, on which key, and why. Every method
// that fails returns one; Unwrap gives one of the package's errors, the
// context's error, or etcd's.
type Error struct {
	Op  string // what was asked for, such as "acquire"
	Key string // the lock's name; empty where the operation has none
	Err error

	// Blocker is the owner that was directly ahead in the queue when an acquire
	// ended with ErrLocked; of a try, the first in it. Otherwise it is nil.
	Blocker *Owner
}

func (e *Error) Error() string {
	if e.Key == "" {
		return "elock: " + e.Op + ": " + e.Err.Error()
	}
	text := fmt.Sprintf("elock: %s %q: %v", e.Op, e.Key, e.Err)
	if e.Blocker != nil {
		text += fmt.Sprintf(" (ahead: %v)", e.Blocker)
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// A Reason says how a lock was lost.
type Reason int

const (
	// ReasonLeaseExpired: etcd no longer knows the lease.
	ReasonLeaseExpired Reason = iota + 1
	// ReasonDeadline: no renewal was answered in time, so the lease may be gone.
	ReasonDeadline
	// ReasonKeyDeleted: the lock's key is gone. Somebody deleted it, or called Evict
	// while etcd had no space; or etcd could not say how the key went.
	ReasonKeyDeleted
	// ReasonEvicted: somebody called Evict.
	ReasonEvicted
)

func (r Reason) String() string {
	switch r {
	case ReasonLeaseExpired:
		return "lease expired"
	case ReasonDeadline:
		return "lease not renewed in time"
	case ReasonKeyDeleted:
		return "key deleted"
	case ReasonEvicted:
		return "evicted"
	}
	return fmt.Sprintf("Reason(%d)", int(r))
}

// A LostError is the cause of a hold's context when the lock was lost. It
// matches ErrLost.
type LostError struct {
	Reason Reason
	Token  Token // of the lost hold
}

func (e *LostError) Error() string {
	return fmt.Sprintf("%v: %v (token %d)", ErrLost, e.Reason, e.Token)
}

// Is reports whether target is ErrLost.
func (e *LostError) Is(target error) bool { return target == ErrLost }

// reasonOf returns the reason for which holds under a lease end that was lost in that
// way, 0 if it was not lost.
func reasonOf(why lease.Loss) Reason {
	switch why {
	case lease.Expired:
		return ReasonLeaseExpired
	case lease.Overdue:
		return ReasonDeadline
	}
	return 0
}

// invalid returns an error that matches ErrInvalidOption.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalidOption}, args...)...)
}

// silent marks the error of a context that ended before etcd answered.
func silent(err error) error { return xctx.Unheard(err, ErrUnavailable) }

var errZeroKey = fmt.Errorf("%w: zero Key", keyspace.ErrInvalid)
