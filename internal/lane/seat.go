package lane

import (
	"context"

	"github.com/phpgao/elock/keyspace"
)

// seats are those of a lane that is divided. They are numbered from 1; the lane as a whole is seat 0.
type seats[W any] struct {
	slots, taken int
	all          []seat[W] // by number, less 1
}

// A seat is vacant if its weight is 0.
type seat[W any] struct {
	weight   int
	occupant W
}

// room reports whether there is room for one that wants so many of so many slots.
func (s *seats[W]) room(slots, weight int) bool { return s.slots == slots && weight <= s.slots-s.taken }

// occupants returns one that occupies l, and how many do.
func (l *lane[W, C]) occupants() (one W, n int) {
	if l.seats == nil {
		return l.occupant, 1
	}
	for _, s := range l.seats.all {
		if s.weight > 0 {
			one, n = s.occupant, n+1
		}
	}
	return one, n
}

// sit gives the first vacant seat of a lane that has room, or is not occupied.
func (l *lane[W, C]) sit(value W, slots, weight int) (number int) {
	if l.seats == nil {
		l.seats = &seats[W]{slots: slots}
	}
	l.busy = true
	s := l.seats
	for number < len(s.all) && s.all[number].weight > 0 {
		number++
	}
	if number == len(s.all) {
		s.all = append(s.all, seat[W]{})
	}
	s.all[number] = seat[W]{weight, value}
	s.taken += weight
	return number + 1
}

// vacate takes its seat from an occupant. With the last one, the lane is not occupied any more.
func (l *lane[W, C]) vacate(number int) {
	s := l.seats
	s.taken -= s.all[number-1].weight
	s.all[number-1] = seat[W]{}
	if s.taken == 0 {
		l.busy, l.seats = false, nil
	}
}

// seatNext gives seats to those who are next in line and want some, while there is room. It is to be called whenever the front of
// the line, or the room, has changed.
func (t *Table[W, C]) seatNext(l *lane[W, C]) {
	for {
		w := l.line.first
		if w == nil || w.slots == 0 || l.busy && (l.seats == nil || !l.seats.room(w.slots, w.weight)) {
			return
		}
		t.busy.Add(1)
		l.line.remove(w)
		w.seat = l.sit(w.Value, w.slots, w.weight)
		close(w.ready)
	}
}

// takeSeat takes a seat if nobody waits and there is room. The caller holds s.mu.
func (t *Table[W, C]) takeSeat(s *shard[W, C], key keyspace.Key, value W, slots, weight int) (c C, seat int, ok bool) {
	l := s.m[key]
	switch {
	case l == nil || !l.busy:
		if c, _, ok = t.take(s, key, value, false); !ok {
			return c, 0, false
		}
		var nobody W
		l = s.m[key]
		l.occupant = nobody
	case l.seats == nil || l.line.n > 0 || !l.seats.room(slots, weight):
		return c, 0, false
	default:
		t.busy.Add(1)
	}
	return c, l.sit(value, slots, weight), true
}

// EnterSeat is Enter for a caller that wants so many of the slots of a lane which is divided: others that name the same number of
// slots occupy it at the same time, as long as they want no more than there are. It returns the number of the caller's seat, the
// lowest that is vacant. Those who want the lane alone, share it or name another number wait for each other as they come; so does
// whoever comes behind one that waits for many slots.
func (t *Table[W, C]) EnterSeat(ctx context.Context, key keyspace.Key, value W, slots, weight int, blocked func(ahead W, n int)) (c C, seat int, ok bool) {
	s := t.lock(key)
	if c, seat, ok := t.takeSeat(s, key, value, slots, weight); ok {
		s.mu.Unlock()
		return c, seat, true
	}
	w := &Waiter[W, C]{Value: value, slots: slots, weight: weight}
	ok = t.wait(ctx, s, key, w, blocked)
	return w.c, w.seat, ok
}

// TryEnterSeat is EnterSeat without the wait: it fails if EnterSeat would wait, and calls blocked with an occupant, and how many
// are there.
func (t *Table[W, C]) TryEnterSeat(key keyspace.Key, value W, slots, weight int, blocked func(by W, n int)) (c C, seat int, ok bool) {
	s := t.lock(key)
	if c, seat, ok := t.takeSeat(s, key, value, slots, weight); ok {
		s.mu.Unlock()
		return c, seat, true
	}
	t.refuse(s, key, blocked)
	return c, 0, false
}

// LeaveSeat is Leave for the occupant of a seat.
func (t *Table[W, C]) LeaveSeat(key keyspace.Key, seat int) {
	s := t.lock(key)
	defer s.mu.Unlock()
	t.pass(s, key, seat)
}

// NextAt is Next for the occupant of a seat: the first in line must want one, too, and find room in place of the caller.
func (t *Table[W, C]) NextAt(key keyspace.Key, seat int) *Waiter[W, C] {
	s := t.lock(key)
	defer s.mu.Unlock()
	return s.m[key].next(seat)
}

func (l *lane[W, C]) next(seat int) *Waiter[W, C] {
	w := l.line.first
	switch {
	case w == nil:
	case seat == 0 && w.slots == 0:
		return w
	case seat > 0 && l.seats.room(w.slots, w.weight-l.seats.all[seat-1].weight):
		return w
	}
	return nil
}

// HandAt is Hand for the occupant of a seat, which passes to w.
func (t *Table[W, C]) HandAt(key keyspace.Key, seat int, c C, w *Waiter[W, C]) bool {
	s := t.lock(key)
	defer s.mu.Unlock()
	l := s.m[key]
	if w == nil || l.next(seat) != w {
		return false
	}
	if seat == 0 {
		l.give(c, 0)
		return true
	}
	own := &l.seats.all[seat-1]
	l.seats.taken += w.weight - own.weight
	own.weight, own.occupant = w.weight, w.Value
	l.line.remove(w)
	w.c, w.seat = c, seat
	close(w.ready)
	t.seatNext(l)
	return true
}
