package locker

import "time"

// An instant is one reading of the two clocks. The monotonic clock may stand
// still while the machine sleeps, and the wall clock may be set back, so a
// deadline counts on both and whichever passes it first decides.
type instant struct{ mono, wall time.Duration }

var start = time.Now()

func readClocks() instant {
	t := time.Now()
	return instant{mono: t.Sub(start), wall: time.Duration(t.UnixNano())}
}

func (i instant) add(d time.Duration) instant {
	return instant{i.mono + d, i.wall + d}
}

// until returns how long it is from now to i, by the clock that says less.
func (i instant) until(now instant) time.Duration {
	return min(i.mono-now.mono, i.wall-now.wall)
}
