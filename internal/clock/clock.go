// Package clock reads the two clocks of a process, the monotonic one and that of the wall.
package clock

import "time"

// An Instant is one reading of the two clocks. The monotonic clock may stand
// still while the machine sleeps, and the wall clock may be set back, so a
// deadline counts on both and whichever passes it first decides.
type Instant struct{ Mono, Wall time.Duration }

var start = time.Now()

// Read returns the present.
func Read() Instant {
	t := time.Now()
	return Instant{Mono: t.Sub(start), Wall: time.Duration(t.UnixNano())}
}

// Add returns the instant d later.
func (i Instant) Add(d time.Duration) Instant {
	return Instant{i.Mono + d, i.Wall + d}
}

// Until returns how long it is from now to i, by the clock that says less.
func (i Instant) Until(now Instant) time.Duration {
	return min(i.Mono-now.Mono, i.Wall-now.Wall)
}

// Mono is the time of the monotonic clock, in nanoseconds. It is small enough for an atomic, where 0 can be never.
func Mono() int64 { return int64(time.Since(start)) }
