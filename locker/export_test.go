package locker

import "time"

// SetClocks makes l read wall as its wall clock; the monotonic clock stays.
func SetClocks(l *Locker, wall func() time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = func() instant {
		i := readClocks()
		i.wall = time.Duration(wall().UnixNano())
		return i
	}
}
