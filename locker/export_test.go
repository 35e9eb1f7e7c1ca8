package locker

import (
	"time"

	"github.com/phpgao/elock/keyspace"
)

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

// Waiting returns how many callers wait for k within l's process.
func Waiting(l *Locker, k keyspace.Key) int {
	return l.lanes.waiting(k)
}
