package lane

import (
	"time"

	"github.com/phpgao/elock/keyspace"
)

// A Sharing is those who share a lane, from when the occupant lets others in until the last of them parts.
type Sharing[W any, C comparable] struct {
	table *Table[W, C]
	key   keyspace.Key
	ask   func(*Sharing[W, C])

	// guarded by the mutex of the lane
	c        C         // what all of them have
	present  int       // how many there are
	joined   int       // how many have joined
	until    time.Time // when the term ends
	renewing bool      // somebody finds out whether there may be another
}

// Share lets others share the caller's lane and have c, too: those that are next in line now and want that, and those who come
// within a term. When one that wants to share is the first in line after the term, ask is called: it must find out, on another
// goroutine, whether there may be another term, and call Renew.
func (t *Table[W, C]) Share(key keyspace.Key, c C, ask func(*Sharing[W, C])) {
	h := t.lock(key)
	l := h.m[key]
	l.sharing = &Sharing[W, C]{table: t, key: key, ask: ask, c: c, present: 1, until: time.Now().Add(t.cfg.Term)}
	due := l.admit()
	h.mu.Unlock()
	due.renew()
}

// admit lets those join who are next in line and may. If one may not because the term is over, it returns the sharing, unless
// somebody renews it already: the caller must call renew on it, without the mutex. It is to be called whenever the front of the
// line, or what it may share, has changed.
func (l *lane[W, C]) admit() (due *Sharing[W, C]) {
	s := l.sharing
	if s == nil {
		return nil
	}
	for l.line.first != nil && l.line.first.share && s.open() {
		l.give(s.c, s.join())
	}
	if s.renewing || l.line.first == nil || !l.line.first.share {
		return nil
	}
	s.renewing = true
	return s
}

// renew asks for another term, if s is there.
func (s *Sharing[W, C]) renew() {
	if s != nil {
		s.ask(s)
	}
}

// open reports whether one more may join.
func (s *Sharing[W, C]) open() bool { return s != nil && time.Now().Before(s.until) }

// join counts one more, and returns its number.
func (s *Sharing[W, C]) join() int {
	s.present++
	s.joined++
	return s.joined
}

// Renew begins another term if more is true. It reports false if somebody still waits to join, and so it is to be called again.
func (s *Sharing[W, C]) Renew(more bool) (done bool) {
	h := s.table.lock(s.key)
	defer h.mu.Unlock()
	l := h.m[s.key]
	if l == nil || l.sharing != s {
		return true // those who wait get the lane
	}
	if more {
		s.until = time.Now().Add(s.table.cfg.Term)
	}
	s.renewing = false
	done = l.admit() == nil // else the caller goes on renewing
	return done
}

// Close ends the term of those who share the lane of key, of whom the caller is one.
func (t *Table[W, C]) Close(key keyspace.Key) {
	h := t.lock(key)
	defer h.mu.Unlock()
	h.m[key].sharing.until = time.Time{}
}

// Part takes the caller away from those who share its lane. It reports whether the caller has the lane for itself now; otherwise it
// has nothing any more.
func (t *Table[W, C]) Part(key keyspace.Key) (alone bool) {
	h := t.lock(key)
	defer h.mu.Unlock()
	l := h.m[key]
	if l.sharing == nil {
		return true
	}
	if l.sharing.present--; l.sharing.present > 0 {
		return false
	}
	l.sharing = nil
	return true
}

// Shared reports whether the lane of key is shared, and all who wait for it want to share it.
func (t *Table[W, C]) Shared(key keyspace.Key) bool {
	h := t.lock(key)
	defer h.mu.Unlock()
	l := h.m[key]
	if l == nil || l.sharing == nil {
		return false
	}
	for w := l.line.first; w != nil; w = w.after {
		if !w.share {
			return false
		}
	}
	return true
}
