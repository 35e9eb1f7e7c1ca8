package lane

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/phpgao/elock/keyspace"
)

// A Config is what a Table works with.
type Config[C any] struct {
	// Stop ends every wait.
	Stop context.Context
	// Term is for how long callers may join those who share a lane, before another term begins.
	Term time.Duration
	// Orphan takes what has come with a lane to a caller whose goroutine has ended, in its place.
	Orphan func(c C)
}

// A Table is the lanes of a process. It is safe for concurrent use.
type Table[W any, C comparable] struct {
	cfg    Config[C]
	shards [shards]shard[W, C]
	busy   atomic.Int64  // lanes that are occupied
	idle   chan struct{} // gets a value when busy becomes 0
}

// shards is into how many shards a Table is split, so that keys that have nothing to do with each other do not wait for one mutex.
const shards = 64

var seed = maphash.MakeSeed()

type shard[W any, C comparable] struct {
	mu    sync.Mutex // guards all that is in the lanes
	m     map[keyspace.Key]*lane[W, C]
	spare *lane[W, C] // of a key that has none any more, for the next that gets one
}

// A lane is occupied, or something is parked in it.
type lane[W any, C comparable] struct {
	busy     bool
	occupant W // if it is one
	line     line[W, C]
	parked   C
	sharing  *Sharing[W, C] // by the occupant; nil if it is alone
	seats    *seats[W]      // of the occupants; nil if the lane is not divided
}

// New returns a Table without lanes.
func New[W any, C comparable](cfg Config[C]) *Table[W, C] {
	return &Table[W, C]{cfg: cfg, idle: make(chan struct{}, 1)}
}

// lock returns the shard of key, whose mutex it has locked.
func (t *Table[W, C]) lock(key keyspace.Key) *shard[W, C] {
	s := &t.shards[maphash.Comparable(seed, key)%shards]
	s.mu.Lock()
	return s
}

// open returns an empty lane. The caller holds s.mu.
func (s *shard[W, C]) open() *lane[W, C] {
	if l := s.spare; l != nil {
		s.spare = nil
		return l
	}
	return new(lane[W, C])
}

// close takes away the lane of key, which nobody deals with. The caller holds s.mu.
func (s *shard[W, C]) close(key keyspace.Key, l *lane[W, C]) {
	delete(s.m, key)
	*l = lane[W, C]{}
	s.spare = l
}

// take occupies a free lane, or joins those who share one, as the nth of those who joined. The caller holds s.mu.
func (t *Table[W, C]) take(s *shard[W, C], key keyspace.Key, value W, share bool) (c C, nth int, ok bool) {
	l := s.m[key]
	switch {
	case l == nil:
		if s.m == nil {
			s.m = make(map[keyspace.Key]*lane[W, C])
		}
		l = s.open()
		s.m[key] = l
	case l.busy && share && l.sharing.open() && l.line.n == 0:
		return l.sharing.c, l.sharing.join(), true
	case l.busy:
		return c, 0, false
	}
	t.busy.Add(1)
	l.busy, l.occupant = true, value
	c, l.parked = l.parked, c
	return c, 0, true
}

// Enter takes the lane of key, waiting behind those who came first until ctx or Stop is done. It returns what comes with the lane.
// If share is true the caller may also join those who share it: then nth is 1 for the first of them to join, 2 for the second,
// and so on, and else 0.
//
// blocked is called once if it has to wait, with who is directly ahead, and how many are ahead. If it does not return, or if Enter
// fails, the lane is as if Enter had not been called.
func (t *Table[W, C]) Enter(ctx context.Context, key keyspace.Key, value W, share bool, blocked func(ahead W, n int)) (c C, nth int, ok bool) {
	s := t.lock(key)
	if c, nth, ok := t.take(s, key, value, share); ok {
		s.mu.Unlock()
		return c, nth, true
	}
	w := &Waiter[W, C]{Value: value, share: share}
	ok = t.wait(ctx, s, key, w, blocked)
	return w.c, w.nth, ok
}

// wait brings w to the end of the line, waits, and reports whether w has got the lane. The caller holds s.mu, and wait unlocks it.
func (t *Table[W, C]) wait(ctx context.Context, s *shard[W, C], key keyspace.Key, w *Waiter[W, C], blocked func(ahead W, n int)) (ok bool) {
	l := s.m[key]
	ahead, n := l.occupants()
	if l.line.last != nil {
		ahead = l.line.last.Value
	}
	n += l.line.n
	w.ready = make(chan struct{})
	l.line.push(w)
	due := l.admit()
	s.mu.Unlock()
	due.renew()

	exits := true
	defer func() {
		if !exits {
			return
		}
		if t.withdraw(key, w) {
			t.cfg.Orphan(w.c)
		}
	}()
	blocked(ahead, n)
	exits = false
	select {
	case <-w.ready:
		return true
	case <-ctx.Done():
	case <-t.cfg.Stop.Done():
	}
	return t.withdraw(key, w)
}

// TryEnter is Enter without the wait: it fails if Enter would wait, and calls blocked with the occupant, and how many are there.
func (t *Table[W, C]) TryEnter(key keyspace.Key, value W, share bool, blocked func(by W, n int)) (c C, nth int, ok bool) {
	s := t.lock(key)
	if c, nth, ok := t.take(s, key, value, share); ok {
		s.mu.Unlock()
		return c, nth, true
	}
	t.refuse(s, key, blocked)
	return c, 0, false
}

// refuse tells a try who occupies the lane. The caller holds s.mu, and refuse unlocks it.
func (t *Table[W, C]) refuse(s *shard[W, C], key keyspace.Key, blocked func(by W, n int)) {
	l := s.m[key]
	by, n := l.occupants()
	n += l.line.n
	s.mu.Unlock()
	blocked(by, n)
}

// Seize takes the lane of key if it is vacant.
func (t *Table[W, C]) Seize(key keyspace.Key, value W) bool {
	s := t.lock(key)
	defer s.mu.Unlock()
	if s.m[key] != nil {
		return false
	}
	_, _, ok := t.take(s, key, value, false)
	return ok
}

// Vacant reports whether nobody deals with key, and nothing is parked there.
func (t *Table[W, C]) Vacant(key keyspace.Key) bool {
	s := t.lock(key)
	defer s.mu.Unlock()
	return s.m[key] == nil
}

// Waiting returns how many wait for the lane of key.
func (t *Table[W, C]) Waiting(key keyspace.Key) int {
	s := t.lock(key)
	defer s.mu.Unlock()
	if l := s.m[key]; l != nil {
		return l.line.n
	}
	return 0
}

// withdraw takes w out of the line. If the lane has passed to it meanwhile, withdraw passes it on, unless something came with it:
// the caller gets that, and has the lane.
func (t *Table[W, C]) withdraw(key keyspace.Key, w *Waiter[W, C]) (ok bool) {
	var nothing C
	var due *Sharing[W, C]
	s := t.lock(key)
	select {
	case <-w.ready:
		if w.c == nothing {
			t.pass(s, key, w.seat)
		}
	default:
		l := s.m[key]
		l.line.remove(w)
		due = l.admit()
		t.seatNext(l)
	}
	s.mu.Unlock()
	due.renew()
	return w.c != nothing
}
