// Package work is what the benchmarks have in common: locks of several implementations behind one interface, and the work
// that all of them are given.
package work

import (
	"context"
	"testing"
)

// A Lock is one lock in the hands of one goroutine, which locks and unlocks it in turn.
type Lock interface {
	Lock(ctx context.Context) error // waits
	Unlock(ctx context.Context) error
}

// A Trier is a Lock that can also be tried: TryLock fails at once when the lock is held.
type Trier interface {
	Lock
	TryLock(ctx context.Context) error
}

// A Worker is one goroutine of a Process. It returns its lock of a key.
type Worker func(key int) Lock

// A Process is what one program that takes locks has: clients, and Lockers or sessions, that its goroutines share as the
// implementation allows. It returns a new Worker.
type Process func() Worker

// An Impl is one implementation of locks.
type Impl struct {
	Name string
	// Open returns a new process that ends with tb. It fails tb if it cannot.
	Open func(tb testing.TB, s *Site) Process
}
