package once

import (
	"slices"

	"github.com/phpgao/elock/locker"
)

// An Option configures one Do. All callers of a key should agree on Retake or Skip.
type Option func(*config)

type config struct {
	skip      bool
	noWait    bool
	acquiring []locker.AcquireOption
}

// Retake has a tick whose run did not end well be run again, by the next caller of
// that tick: each tick runs at least once while anybody calls for it, and to its end
// at most once. It is the default.
func Retake() Option { return func(c *config) { c.skip = false } }

// Skip marks a tick before it is run, so that it starts once at most: if its run fails
// or its process dies, the tick is skipped. A Do that comes after the mark returns at
// once, also while the tick is being run.
func Skip() Option { return func(c *config) { c.skip = true } }

// NoWait makes Do fail with locker.ErrLocked where it would wait for the lock, because
// this tick or another one is being run, or waited for.
func NoWait() Option { return func(c *config) { c.noWait = true } }

// Acquiring makes Do take the lock with opts, such as locker.TTL or locker.MaxHeld. With
// locker.Shared or locker.Slots, Do is locker.ErrInvalidOption. With locker.AtLeast, callers
// that wait already when the tick is done wait until that time is over.
func Acquiring(opts ...locker.AcquireOption) Option {
	return func(c *config) { c.acquiring = append(slices.Clip(c.acquiring), opts...) }
}
