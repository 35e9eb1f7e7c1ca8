package elock

import (
	"time"

	"github.com/phpgao/elock/locker"
)

// DefaultMaxHeldTime is that of WithMaxHeldTime.
const DefaultMaxHeldTime = time.Hour

// An Opt configures an ELocker. A bad one makes every call fail with
// locker.ErrInvalidOption.
type Opt func(*config)

type config struct {
	locker    []locker.Option
	onSuccess func(key string)
	sleepMin  time.Duration
	sleepMax  time.Duration
	err       error // the first bad option
}

func newConfig(opts []Opt) config {
	c := config{locker: []locker.Option{locker.WithMaxHeldTime(DefaultMaxHeldTime)}}
	for _, o := range opts {
		if o == nil {
			c.fail(invalid("nil Opt"))
			continue
		}
		o(&c)
	}
	return c
}

func (c *config) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// WithLockerOptions passes options of package locker on to the Locker under the
// ELocker, such as locker.WithLogger or locker.WithHook.
func WithLockerOptions(opts ...locker.Option) Opt {
	return func(c *config) { c.locker = append(c.locker, opts...) }
}

// WithPrefix is locker.WithPrefix: it puts the locks under "/" + p + "/" in etcd.
// The default is "elock".
func WithPrefix(p string) Opt { return WithLockerOptions(locker.WithPrefix(p)) }

// WithMaxHeldTime is locker.WithMaxHeldTime: it sets how long a lock may be held
// before the monitor releases it. The default is 1h; 0 means without limit.
func WithMaxHeldTime(d time.Duration) Opt { return WithLockerOptions(locker.WithMaxHeldTime(d)) }

// WithMonitorTicks is locker.WithMonitorTicks: it sets how often the monitor looks
// for locks that are held too long. The default is 1m.
func WithMonitorTicks(d time.Duration) Opt { return WithLockerOptions(locker.WithMonitorTicks(d)) }

// WithTimeoutCallback is locker.WithTimeoutCallback: it has f called once for each
// lock that the monitor released, with the key and the time it was held. It runs
// on a goroutine of its own; its panic is logged.
func WithTimeoutCallback(f func(key string, held time.Duration)) Opt {
	return WithLockerOptions(locker.WithTimeoutCallback(f))
}

// WithSuccessCallback has f called with the key when Lock, RunFuncInLock or
// RunJobInLock has the lock, on the goroutine that called. If f panics, the lock is
// released and the panic goes on. It is not called for what is acquired with
// Locker: for that there is locker.WithSuccessCallback.
func WithSuccessCallback(f func(key string)) Opt {
	return func(c *config) { c.onSuccess = f }
}

// WithRandomSleep makes RunFuncInLock and RunJobInLock sleep for a random time
// between min and max when they have the lock and before the function runs. The
// end of the caller's context, or of the hold, ends the sleep, and the function
// does not run. Swapped bounds are put in order.
func WithRandomSleep(min, max time.Duration) Opt {
	return func(c *config) {
		if min < 0 || max < 0 {
			c.fail(invalid("random sleep between %v and %v is negative", min, max))
		}
		if min > max {
			min, max = max, min
		}
		c.sleepMin, c.sleepMax = min, max
	}
}
