package election

import (
	"slices"

	"github.com/phpgao/elock/locker"
)

// An Option configures an Election.
type Option func(*config)

type config struct {
	acquiring []locker.AcquireOption
}

// Acquiring has candidates take the lock with opts: locker.TTL says how long a dead
// leader is waited for, and locker.MaxHeld limits a term. Locks of an election cannot be
// shared or have locker.Slots.
func Acquiring(opts ...locker.AcquireOption) Option {
	return func(c *config) { c.acquiring = append(slices.Clip(c.acquiring), opts...) }
}
