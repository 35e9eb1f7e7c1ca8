package locker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/phpgao/elock/keyspace"
)

var (
	// ErrLocked says that somebody else holds the lock, or waits for it.
	ErrLocked = errors.New("locker: lock is held")
	// ErrLost says that the hold ended before its owner released it. The
	// error is a *LostError.
	ErrLost = errors.New("locker: lock lost")
	// ErrMaxHeld says that the monitor ended the hold because it lasted
	// longer than it may.
	ErrMaxHeld = errors.New("locker: lock held longer than allowed")
	// ErrReleased is the cause of a hold's context after Release.
	ErrReleased = errors.New("locker: lock released")
	// ErrNotHeld says that Unlock was called for a key that is not locked.
	ErrNotHeld = errors.New("locker: lock is not held")
	// ErrClosed says that the Locker is closed or shutting down.
	ErrClosed = errors.New("locker: closed")
	// ErrUnavailable says that etcd did not answer in 5 seconds, or in the 3
	// that Close waits, under a context that allowed for more. It matches
	// context.DeadlineExceeded too.
	ErrUnavailable = fmt.Errorf("locker: etcd did not answer in time: %w", context.DeadlineExceeded)
	// ErrOutcomeUnknown says that etcd did not answer in time whether it
	// carried out a Commit.
	ErrOutcomeUnknown = errors.New("locker: outcome of the commit is unknown")
	// ErrDeadlock says that the context passed to Acquire already holds the
	// lock, so that waiting for it would never end.
	ErrDeadlock = errors.New("locker: lock is already held by this context")
	// ErrInvalidTTL says that a TTL is not positive, or above etcd's maximum
	// of 9,000,000,000 seconds.
	ErrInvalidTTL = errors.New("locker: invalid TTL")
	// ErrInvalidOption says that an option or argument is out of its range.
	ErrInvalidOption = errors.New("locker: invalid option")
)

// An Error says which operation failed, on which key, and why. Every method
// that fails returns one; Unwrap gives one of the package's errors, the
// context's error, or etcd's.
type Error struct {
	Op  string // what was asked for, such as "acquire"
	Key string // the lock's name; empty where the operation has none
	Err error
}

func (e *Error) Error() string {
	if e.Key == "" {
		return "elock: " + e.Op + ": " + e.Err.Error()
	}
	return fmt.Sprintf("elock: %s %q: %v", e.Op, e.Key, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// A Reason says how a lock was lost.
type Reason int

const (
	// LeaseExpired: etcd no longer knows the lease.
	LeaseExpired Reason = iota + 1
	// Deadline: no renewal was answered in time, so the lease may be gone.
	Deadline
	// KeyDeleted: the lock's key is gone. Somebody deleted it, or etcd was not
	// there to tell what else became of it.
	KeyDeleted
	// Evicted: somebody called Evict.
	Evicted
)

func (r Reason) String() string {
	switch r {
	case LeaseExpired:
		return "lease expired"
	case Deadline:
		return "lease not renewed in time"
	case KeyDeleted:
		return "key deleted"
	case Evicted:
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

// invalid returns an error that matches ErrInvalidOption.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalidOption}, args...)...)
}

var errZeroKey = fmt.Errorf("%w: zero Key", keyspace.ErrInvalid)

// refused reports whether err says that etcd did not carry out the request, by
// its own answer or because it was not sent. After any other error the request
// may have been, or may yet be, carried out.
func refused(err error) bool {
	if errors.Is(err, errDoubt) {
		return false
	}
	if errors.Is(err, errUnsent) || err != nil && strings.Contains(err.Error(), "trying to send message larger than max") {
		return true
	}
	var e rpctypes.EtcdError
	if !errors.As(err, &e) || e == rpctypes.ErrNoSpace { // etcd may say that of what it has carried out
		return false
	}
	switch e.Code().String() {
	case "InvalidArgument", "NotFound", "AlreadyExists", "PermissionDenied", "ResourceExhausted",
		"FailedPrecondition", "OutOfRange", "Unimplemented", "Unauthenticated":
		return true
	}
	return false
}
