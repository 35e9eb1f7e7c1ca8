package elock

import (
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/locker"
)

// An ELocker is a locker.Locker: the classic calls and all others.
type ELocker = locker.Locker

// An Opt configures an ELocker. All options of package locker are Opts.
type Opt = locker.Option

// A Job is work for RunJobInLock.
type Job = locker.Job

// NewELocker returns an ELocker that uses client and never closes it. With a
// bad client or option, every call on the ELocker fails with an error that
// matches locker.ErrInvalidOption; locker.New tells at once.
func NewELocker(client *clientv3.Client, opts ...Opt) *ELocker {
	l, _ := locker.New(client, opts...) // the error is in l
	return l
}

// WithMaxHeldTime is locker.WithMaxHeldTime.
func WithMaxHeldTime(d time.Duration) Opt { return locker.WithMaxHeldTime(d) }

// WithMonitorTicks is locker.WithMonitorTicks.
func WithMonitorTicks(d time.Duration) Opt { return locker.WithMonitorTicks(d) }

// WithTimeoutCallback is locker.WithTimeoutCallback.
func WithTimeoutCallback(f func(key string, held time.Duration)) Opt {
	return locker.WithTimeoutCallback(f)
}

// WithRandomSleep is locker.WithRandomSleep.
func WithRandomSleep(min, max time.Duration) Opt { return locker.WithRandomSleep(min, max) }

// WithPrefix is locker.WithPrefix.
func WithPrefix(p string) Opt { return locker.WithPrefix(p) }

// WithSuccessCallback is locker.WithSuccessCallback.
func WithSuccessCallback(f func(key string)) Opt { return locker.WithSuccessCallback(f) }
