package elock

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/locker"
)

// An ELocker is the classic library: its calls lock a key that is a string, for
// a TTL in seconds, and none of them waits for a lock that is held. Its methods
// may be called from several goroutines.
//
// Every method that fails returns a *locker.Error.
type ELocker struct {
	locker    *locker.Locker
	holds     classicHolds
	onSuccess func(key string)
	sleepMin  time.Duration
	sleepMax  time.Duration
	err       error // of NewELocker: every call returns it
}

// NewELocker returns an ELocker that uses client and never closes it. It sends
// nothing to etcd. With a bad client or option, every call on the ELocker fails
// with an error that matches locker.ErrInvalidOption.
func NewELocker(client *clientv3.Client, opts ...Opt) *ELocker {
	c := newConfig(opts)
	if c.err != nil {
		return &ELocker{err: c.err}
	}
	l, err := locker.New(client, c.locker...)
	if err != nil {
		return &ELocker{err: bare(err)}
	}
	return &ELocker{locker: l, onSuccess: c.onSuccess, sleepMin: c.sleepMin, sleepMax: c.sleepMax}
}

// Locker returns the Locker under the ELocker, for all that the classic calls do
// not offer: waiting, holds with a context and a token, guards. Both have the
// same locks, and end together. If NewELocker was given a bad client or option,
// it is a Locker that refuses every call, too.
func (e *ELocker) Locker() *locker.Locker {
	if e == nil || e.locker == nil {
		return new(locker.Locker)
	}
	return e.locker
}

// Close frees all locks and ends the ELocker, as locker.Locker.Close does. The
// client stays open. Close may be repeated; every other call is
// locker.ErrClosed from then on.
func (e *ELocker) Close() error {
	if err := e.made(); err != nil {
		return &locker.Error{Op: "close", Err: err}
	}
	return e.locker.Close()
}

// check returns why e takes no calls, if so.
func (e *ELocker) check() error {
	if err := e.made(); err != nil {
		return err
	}
	return context.Cause(e.locker.Context())
}

// made returns why e was not made, if so.
func (e *ELocker) made() error {
	if e == nil || e.err == nil && e.locker == nil {
		return invalid("nil or zero ELocker; use NewELocker")
	}
	return e.err
}

// invalid returns an error that matches locker.ErrInvalidOption.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{locker.ErrInvalidOption}, args...)...)
}

// bare returns the error that a *locker.Error wraps, and others as they are.
func bare(err error) error {
	if e, ok := err.(*locker.Error); ok {
		return e.Err
	}
	return err
}
