package locker

import (
	"container/list"
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/phpgao/elock/keyspace"
)

// lanes lets one goroutine of this process at a time deal with a key in etcd,
// in the order in which they came. A key that nobody deals with has no lane.
type lanes struct {
	parts [parts]lanesPart
	busy  atomic.Int64  // lanes that are occupied
	idle  chan struct{} // gets a value when busy becomes 0
}

type lanesPart struct {
	mu sync.Mutex
	m  map[keyspace.Key]*lane
}

// A lane is occupied, or it has a claim that was kept.
type lane struct {
	busy     bool
	occupant Owner
	waiters  list.List // of *turn
	kept     *claim    // still in etcd, though nobody here holds it
	sharing  *sharing  // of the occupant's claim; nil if it is alone
}

// A turn is a goroutine that waits for a lane.
type turn struct {
	who   Owner
	want  request
	mine  chan struct{} // closed when the lane has passed to this turn
	claim *claim        // what came with it, or nil
}

func (q *lanes) part(key keyspace.Key) *lanesPart {
	return &q.parts[maphash.Comparable(seed, key)%parts]
}

// tryEnter takes the lane of key if it is free, and the claim that was kept in
// it. Otherwise it fails, and calls blocked with the occupant and the number of
// those that are there.
func (q *lanes) tryEnter(key keyspace.Key, who Owner, want request, blocked func(Owner, int)) (*claim, error) {
	p := q.part(key)
	p.mu.Lock()
	if c, ok := q.take(p, key, who, want); ok {
		p.mu.Unlock()
		return c, nil
	}
	l := p.m[key]
	by, n := l.occupant, 1+l.waiters.Len()
	p.mu.Unlock()
	blocked(by, n)
	return nil, ErrLocked
}

// vacant reports whether nobody deals with key, and no claim is kept.
func (q *lanes) vacant(key keyspace.Key) bool {
	p := q.part(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.m[key] == nil
}

// seize takes the lane of key if it is vacant.
func (q *lanes) seize(key keyspace.Key, who Owner) bool {
	p := q.part(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m[key] != nil {
		return false
	}
	_, ok := q.take(p, key, who, request{})
	return ok
}

// take occupies a free lane, or joins those who share one. The caller holds
// p.mu.
func (q *lanes) take(p *lanesPart, key keyspace.Key, who Owner, want request) (c *claim, ok bool) {
	l := p.m[key]
	switch {
	case l == nil:
		if p.m == nil {
			p.m = make(map[keyspace.Key]*lane)
		}
		l = new(lane)
		p.m[key] = l
	case l.busy && want.shared && l.sharing.open() && l.waiters.Len() == 0:
		return l.sharing.join(), true
	case l.busy:
		return nil, false
	}
	q.busy.Add(1)
	l.busy, l.occupant = true, who
	c, l.kept = l.kept, nil
	return c, true
}

// enter takes the lane of key, waiting behind those who came first until ctx
// or stop is done, and returns the claim that comes with the lane, if any.
// blocked is called once if it has to wait, with the owner directly ahead and
// the number of those ahead. On failure the lane is as if enter had not been
// called.
func (q *lanes) enter(ctx, stop context.Context, key keyspace.Key, who Owner, want request, blocked func(Owner, int)) (*claim, error) {
	p := q.part(key)
	p.mu.Lock()
	if c, ok := q.take(p, key, who, want); ok {
		p.mu.Unlock()
		return c, nil
	}
	l := p.m[key]
	ahead, n := l.occupant, 1+l.waiters.Len()
	if last := l.waiters.Back(); last != nil {
		ahead = last.Value.(*turn).who
	}
	t := &turn{who: who, want: want, mine: make(chan struct{})}
	e := l.waiters.PushBack(t)
	l.admit()
	p.mu.Unlock()

	blocked(ahead, n)
	var err error
	select {
	case <-t.mine:
		return t.claim, nil
	case <-ctx.Done():
		err = ctxError(ctx)
	case <-stop.Done():
		err = context.Cause(stop)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-t.mine: // passed to us while we gave up: pass it on
		if t.claim != nil {
			return t.claim, nil // who has it must see to it
		}
		q.pass(p, key)
	default:
		l.waiters.Remove(e)
		l.admit()
	}
	return nil, err
}

// leave gives the lane to the next in line.
func (q *lanes) leave(key keyspace.Key) {
	p := q.part(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	q.pass(p, key)
}

// pass is leave for a caller that holds p.mu.
func (q *lanes) pass(p *lanesPart, key keyspace.Key) {
	l := p.m[key]
	if e := l.waiters.Front(); e != nil {
		l.give(e, nil)
		return
	}
	delete(p.m, key)
	q.free()
}

// give passes the lane, with c, to the turn in e, or c to one more who shares it.
func (l *lane) give(e *list.Element, c *claim) {
	t := l.waiters.Remove(e).(*turn)
	if l.sharing == nil {
		l.occupant = t.who
	}
	t.claim = c
	close(t.mine)
}

// free counts a lane as not occupied any more.
func (q *lanes) free() {
	if q.busy.Add(-1) == 0 {
		select {
		case q.idle <- struct{}{}:
		default:
		}
	}
}

// next returns the first in line if c's lease is one for it, or nil.
func (q *lanes) next(c *claim) *turn {
	p := q.part(c.key)
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.m[c.key].waiters.Front(); e != nil && e.Value.(*turn).want.seconds == c.lease.seconds {
		return e.Value.(*turn)
	}
	return nil
}

// waiting returns how many wait for the lane of key.
func (q *lanes) waiting(key keyspace.Key) int {
	p := q.part(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.m[key]; l != nil {
		return l.waiters.Len()
	}
	return 0
}

// hand passes the lane, with c, to t. It fails if t is not the first in line
// any more.
func (q *lanes) hand(c *claim, t *turn) bool {
	p := q.part(c.key)
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.m[c.key]
	e := l.waiters.Front()
	if e == nil || e.Value.(*turn) != t {
		return false
	}
	l.give(e, c)
	return true
}

// keep leaves the lane to nobody, with c in it. It fails if somebody waits.
func (q *lanes) keep(c *claim) bool {
	p := q.part(c.key)
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.m[c.key]
	if l.waiters.Len() > 0 {
		return false
	}
	l.busy, l.occupant, l.kept = false, Owner{}, c
	q.free()
	return true
}

// recall takes the lane if c is kept in it.
func (q *lanes) recall(c *claim) bool {
	p := q.part(c.key)
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.m[c.key]; l == nil || l.kept != c {
		return false
	}
	_, ok := q.take(p, c.key, Owner{}, request{})
	return ok
}

// drain waits until no lane is occupied, or ctx is done.
func (q *lanes) drain(ctx context.Context) error {
	for q.busy.Load() > 0 {
		select {
		case <-q.idle:
		case <-ctx.Done():
			return ctxError(ctx)
		}
	}
	select {
	case q.idle <- struct{}{}: // for others who wait
	default:
	}
	return nil
}
