package locker

import (
	"context"
	"time"

	"github.com/phpgao/elock/internal/clock"
	"github.com/phpgao/elock/internal/entry"
	"github.com/phpgao/elock/internal/queue"
	"github.com/phpgao/elock/keyspace"
)

// SetClocks makes l read wall as its wall clock; the monotonic clock stays.
func SetClocks(l *Locker, wall func() time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = func() clock.Instant {
		i := clock.Read()
		i.Wall = time.Duration(wall().UnixNano())
		return i
	}
}

// Waiting returns how many callers wait for k within l's process.
func Waiting(l *Locker, k keyspace.Key) int {
	return l.entries.Lanes.Waiting(k)
}

// Leases returns how many leases l has.
func Leases(l *Locker) int { return l.leases.Count() }

// BindAndEnd makes one HoldSet of very many holds, as AcquireAll does, while the first of
// them ends, and returns how many go on after that.
func BindAndEnd(l *Locker) (goOn int) {
	s, err := l.use(context.Background(), 3600)
	if err != nil {
		panic(err)
	}
	g := new(HoldSet)
	for range 5000 {
		g.holds = append(g.holds, &Hold{l: l, entry: &entry.Entry{Entry: queue.Entry{Lease: s}}})
	}
	first := g.holds[0]
	ready, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		close(ready)
		for len(first.members()) == 1 {
		}
		first.end(ErrClosed)
	}()
	<-ready
	_ = g.bind()
	<-over
	for _, h := range g.holds {
		if h.endCause() == nil {
			goOn++
		}
	}
	return goOn
}

// BindLost makes one HoldSet of holds, as AcquireAll does, of which one is lost before, and told
// of that once more while they are bound.
func BindLost(ctx context.Context, lost *Hold, holds ...*Hold) error {
	s := &HoldSet{holds: holds}
	lost.lose(ReasonEvicted)
	err := s.bind()
	lost.lose(ReasonEvicted)
	_ = s.Release(ctx)
	return err
}

// Watched returns how many entries of l's holds have a watch in place.
func Watched(l *Locker) int {
	return l.losses.Placed()
}

// Suspects returns how many writes l looks for.
func Suspects(l *Locker) int {
	return l.queues.LateWrites()
}

// SuspectMember makes l send its calls twice for a while, as if a member of etcd
// were silent.
func SuspectMember(l *Locker) { l.etcd.NoteSilence() }
