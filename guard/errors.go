package guard

import (
	"context"
	"errors"
	"fmt"

	"github.com/phpgao/elock/internal/etcderr"
	"github.com/phpgao/elock/locker"
)

var (
	// ErrFenced says that an update or a deletion was not carried out, because the
	// lock was lost or the value was changed by somebody without the lock. If the lock was
	// lost, the error matches the reason too: locker.ErrLost, locker.ErrMaxHeld,
	// locker.ErrClosed, or locker.ErrReleased if it was the function's doing.
	ErrFenced = errors.New("guard: fenced off, nothing written")
	// ErrNoResource says that the guard has no resource, or none that can do
	// what was asked: only a Stored or Optional value can be watched and deleted,
	// has versions, and can be updated together with others.
	ErrNoResource = errors.New("guard: no such resource")
	// ErrEncode says that the codec could not marshal a value. Nothing was
	// stored.
	ErrEncode = errors.New("guard: value does not encode")
	// ErrDecode says that the codec could not unmarshal what is stored.
	ErrDecode = errors.New("guard: value does not decode")
	// ErrLossy says that an update would have lost something that is stored and the
	// guard's type does not hold. Nothing was stored. See JSON.
	ErrLossy = errors.New("guard: the update would lose data")
	// ErrTooLarge says that a value is larger than etcd takes in one request,
	// 1.5 MiB by default. Nothing was stored.
	ErrTooLarge = errors.New("guard: value is too large")
)

// invalid returns an error that matches locker.ErrInvalidOption.
func invalid(what string) error { return fmt.Errorf("%w: %s", locker.ErrInvalidOption, what) }

var (
	errClientClosed = errors.New("guard: the client is closed")
	errSharing      = invalid("an update under a lock that others hold, too: drop locker.Shared or locker.Slots, or use View")
)

// A funcError is an error of the caller's function, which is returned as it is.
type funcError struct{ error }

func (e funcError) Unwrap() error { return e.error }

// named returns err as the error of an operation on a key. The error of the caller's
// function stays as it is.
func named(op, key string, err error) error {
	switch e := err.(type) {
	case nil:
		return nil
	case funcError:
		return e.error
	case *locker.Error:
		switch e.Op {
		case op: // it names the one of several keys that it is about
			return e
		case "run": // by Hold.Run, for an operation of the guard
			err = e.Err
		}
	}
	return &locker.Error{Op: op, Key: key, Err: err}
}

// bare returns the error that a *locker.Error wraps, and others as they are.
func bare(err error) error {
	if e, ok := err.(*locker.Error); ok {
		return e.Err
	}
	return err
}

// ended reports whether err is the reason for which a hold ended early.
func ended(err error) bool {
	return errors.Is(err, locker.ErrLost) || errors.Is(err, locker.ErrMaxHeld) || errors.Is(err, locker.ErrClosed)
}

// ctxError returns the error of a context that is done, and its cause where
// that says more.
func ctxError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) || cause == locker.ErrUnavailable {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// refused reports whether etcd would answer the same read in the same way again.
func refused(err error) bool {
	return (etcderr.Refused(err) || etcderr.TooLarge(err)) && !etcderr.Passing(err)
}
