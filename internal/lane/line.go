package lane

// A Waiter is a caller that waits for a lane.
type Waiter[W any, C comparable] struct {
	Value W // what it said about itself

	share         bool
	slots, weight int // it wants so many of the seats of a lane with so many; 0: the whole lane

	ready chan struct{} // closed when it has got the lane, with c, or as the nth to share it, or a seat
	c     C
	nth   int
	seat  int

	before, after *Waiter[W, C]
}

// A line is the waiters of a lane, in the order in which they came.
type line[W any, C comparable] struct {
	first, last *Waiter[W, C]
	n           int
}

func (q *line[W, C]) push(w *Waiter[W, C]) {
	w.before = q.last
	if q.last == nil {
		q.first = w
	} else {
		q.last.after = w
	}
	q.last = w
	q.n++
}

// remove takes out w, which is in the line.
func (q *line[W, C]) remove(w *Waiter[W, C]) {
	if w.before == nil {
		q.first = w.after
	} else {
		w.before.after = w.after
	}
	if w.after == nil {
		q.last = w.before
	} else {
		w.after.before = w.before
	}
	w.before, w.after = nil, nil
	q.n--
}
