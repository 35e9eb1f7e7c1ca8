package lane

import "github.com/phpgao/elock/keyspace"

// Leave gives the caller's lane, with nothing in it, to the next in line.
func (t *Table[W, C]) Leave(key keyspace.Key) {
	t.LeaveSeat(key, 0)
}

// pass is LeaveSeat for a caller that holds s.mu.
func (t *Table[W, C]) pass(s *shard[W, C], key keyspace.Key, seat int) {
	l := s.m[key]
	next := l.line.first
	var nothing C
	switch {
	case seat > 0:
		l.vacate(seat)
	case next != nil && next.slots == 0:
		l.give(nothing, 0)
		return
	default:
		l.busy = false
	}
	if !l.busy && next != nil && next.slots == 0 {
		l.busy = true
		t.busy.Add(1)
		l.give(nothing, 0)
	}
	if t.seatNext(l); !l.busy {
		s.close(key, l)
	}
	t.free()
}

// give takes the first out of the line and gives it c: with the lane, or as the nth that joins those who share it.
func (l *lane[W, C]) give(c C, nth int) {
	w := l.line.first
	l.line.remove(w)
	if nth == 0 {
		l.occupant = w.Value
	}
	w.c, w.nth = c, nth
	close(w.ready)
}

// Next returns the first in line if the caller can hand its lane to it, or nil.
func (t *Table[W, C]) Next(key keyspace.Key) *Waiter[W, C] { return t.NextAt(key, 0) }

// Hand passes the caller's lane, with c, to w. It fails if w is not the first in line any more.
func (t *Table[W, C]) Hand(key keyspace.Key, c C, w *Waiter[W, C]) bool {
	return t.HandAt(key, 0, c, w)
}

// Park leaves the caller's lane to nobody, with c in it. It fails if somebody waits.
func (t *Table[W, C]) Park(key keyspace.Key, c C) bool {
	s := t.lock(key)
	defer s.mu.Unlock()
	l := s.m[key]
	if l.line.n > 0 {
		return false
	}
	var nobody W
	l.busy, l.occupant, l.parked = false, nobody, c
	t.free()
	return true
}

// Recall takes the lane if c is parked in it.
func (t *Table[W, C]) Recall(key keyspace.Key, c C) bool {
	s := t.lock(key)
	defer s.mu.Unlock()
	if l := s.m[key]; l == nil || l.parked != c {
		return false
	}
	var nobody W
	_, _, ok := t.take(s, key, nobody, false)
	return ok
}
