package guard

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/phpgao/elock/locker"
)

var (
	// ErrFenced says that an update was not stored, because the lock was lost
	// or the value was changed by somebody without the lock. If the lock was
	// lost, the error matches the reason too: locker.ErrLost, locker.ErrMaxHeld,
	// locker.ErrClosed, or locker.ErrReleased if it was the function's doing.
	ErrFenced = errors.New("guard: fenced off, nothing stored")
	// ErrNoResource says that the guard has no resource, or none that can do
	// what was asked: only a Stored value can be watched, has versions, and can
	// be updated together with others.
	ErrNoResource = errors.New("guard: no such resource")
	// ErrEncode says that the codec could not marshal a value. Nothing was
	// stored.
	ErrEncode = errors.New("guard: value does not encode")
	// ErrDecode says that the codec could not unmarshal what is stored.
	ErrDecode = errors.New("guard: value does not decode")
	// ErrTooLarge says that a value is larger than etcd takes in one request,
	// 1.5 MiB by default. Nothing was stored.
	ErrTooLarge = errors.New("guard: value is too large")
)

// invalid returns an error that matches locker.ErrInvalidOption.
func invalid(what string) error { return fmt.Errorf("%w: %s", locker.ErrInvalidOption, what) }

var errClientClosed = errors.New("guard: the client is closed")

var errSharing = invalid("an update under a shared lock: drop locker.Shared, or use View")

// theirs is an error of the caller's function, which goes back as it is.
type theirs struct{ error }

func (e theirs) Unwrap() error { return e.error }

// named returns err as the error of an operation on a key, unless it is the
// caller's own.
func named(op, key string, err error) error {
	switch e := err.(type) {
	case nil:
		return nil
	case theirs:
		return e.error
	case *locker.Error:
		if e.Op == op { // it names one of several keys
			return e
		}
		if e.Op == "run" { // of the hold
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
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// etcdError prefers the error of the context.
func etcdError(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctxError(ctx)
	}
	return err
}

// refused reports whether err is etcd's answer to a read that will not be
// another one next time.
func refused(err error) bool {
	var e rpctypes.EtcdError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code().String() {
	case "InvalidArgument", "PermissionDenied", "Unauthenticated", "FailedPrecondition":
		return true
	}
	return false
}

// tooLarge reports whether err says that a request was too large: for etcd, or
// for gRPC on either side.
func tooLarge(err error) bool {
	return errors.Is(err, rpctypes.ErrRequestTooLarge) || err != nil && strings.Contains(err.Error(), "message larger than max")
}
