package once

import (
	"errors"
	"fmt"

	"github.com/phpgao/elock/locker"
)

var (
	// ErrOldTick says that a later tick than this one was run. Whether this one was
	// is not known any more; it never will be from now on. A caller that gets it again
	// and again has a clock that is slow: by more than a period behind the fastest
	// clock if each starts the job by a timer of its own, and by more than half a
	// period if all are started at one instant.
	ErrOldTick = errors.New("once: a later tick was run")
	// ErrMarker says that what is stored in the marker's place is not a marker, or
	// that it was changed without the lock. It is not written over; Forget deletes it.
	ErrMarker = errors.New("once: unusable marker")
)

var errChanged = fmt.Errorf("%w: it was changed without the lock", ErrMarker)

// invalid returns an error that matches locker.ErrInvalidOption.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{locker.ErrInvalidOption}, args...)...)
}

// theirs is an error of the caller's function, which goes back as it is.
type theirs struct{ error }

func (e theirs) Unwrap() error { return e.error }

// named returns err as that of the call, unless it is the function's own.
func (c *call) named(err error) error {
	op := c.op
	if op == "" {
		op = "once"
	}
	switch e := err.(type) {
	case nil:
		return nil
	case theirs:
		return e.error
	case *locker.Error:
		if e.Op == "run" { // of the hold
			err = e.Err
		}
	}
	return &locker.Error{Op: op, Key: c.key.String(), Err: err}
}

// bare returns the error that a *locker.Error wraps, and others as they are.
func bare(err error) error {
	if e, ok := err.(*locker.Error); ok {
		return e.Err
	}
	return err
}
