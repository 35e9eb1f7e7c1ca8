package locker

import (
	"container/list"
	"context"
	"sync"

	"github.com/phpgao/elock/keyspace"
)

// lanes lets one goroutine of this process at a time deal with a key in etcd,
// in the order in which they came. A key that nobody deals with has no lane.
type lanes struct {
	mu    sync.Mutex
	m     map[keyspace.Key]*lane
	empty chan struct{} // closed when m becomes empty; nil while nobody asked
}

type lane struct {
	occupant Owner
	waiters  list.List // of *turn
}

type turn struct {
	who  Owner
	mine chan struct{} // closed when the lane has passed to this turn
}

// tryEnter takes the lane of key if it is free. Otherwise it fails, and calls
// blocked with the occupant and the number of those that are there.
func (q *lanes) tryEnter(key keyspace.Key, who Owner, blocked func(Owner, int)) error {
	q.mu.Lock()
	if q.take(key, who) {
		q.mu.Unlock()
		return nil
	}
	l := q.m[key]
	by, n := l.occupant, 1+l.waiters.Len()
	q.mu.Unlock()
	blocked(by, n)
	return ErrLocked
}

// take occupies a free lane. The caller holds mu.
func (q *lanes) take(key keyspace.Key, who Owner) bool {
	if q.m[key] != nil {
		return false
	}
	if q.m == nil {
		q.m = make(map[keyspace.Key]*lane)
	}
	q.m[key] = &lane{occupant: who}
	return true
}

// enter takes the lane of key, waiting behind those who came first until ctx
// or stop is done. blocked is called once if it has to wait, with the owner
// directly ahead and the number of those ahead. On failure the lane is as if
// enter had not been called.
func (q *lanes) enter(ctx, stop context.Context, key keyspace.Key, who Owner, blocked func(Owner, int)) error {
	q.mu.Lock()
	if q.take(key, who) {
		q.mu.Unlock()
		return nil
	}
	l := q.m[key]
	ahead, n := l.occupant, 1+l.waiters.Len()
	if last := l.waiters.Back(); last != nil {
		ahead = last.Value.(*turn).who
	}
	t := &turn{who: who, mine: make(chan struct{})}
	e := l.waiters.PushBack(t)
	q.mu.Unlock()

	blocked(ahead, n)
	var err error
	select {
	case <-t.mine:
		return nil
	case <-ctx.Done():
		err = ctxError(ctx)
	case <-stop.Done():
		err = context.Cause(stop)
	}
	q.mu.Lock()
	select {
	case <-t.mine: // passed to us while we gave up: pass it on
		q.pass(key)
	default:
		l.waiters.Remove(e)
	}
	q.mu.Unlock()
	return err
}

// leave gives the lane to the next in line.
func (q *lanes) leave(key keyspace.Key) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pass(key)
}

// pass is leave for a caller that holds mu.
func (q *lanes) pass(key keyspace.Key) {
	l := q.m[key]
	if next := l.waiters.Front(); next != nil {
		t := l.waiters.Remove(next).(*turn)
		l.occupant = t.who
		close(t.mine)
		return
	}
	delete(q.m, key)
	if len(q.m) == 0 && q.empty != nil {
		close(q.empty)
		q.empty = nil
	}
}

// drained is closed once no lane is taken.
func (q *lanes) drained() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.empty == nil {
		q.empty = make(chan struct{})
	}
	c := q.empty
	if len(q.m) == 0 {
		close(c)
		q.empty = nil
	}
	return c
}
