package lane

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phpgao/elock/keyspace"
)

var key, other = keyspace.MustParse("key"), keyspace.MustParse("other")

const term = 10 * time.Millisecond

// A table is a Table of callers with names, whose lanes carry numbers.
type table struct {
	*Table[string, int]
	t       *testing.T
	stop    context.CancelFunc
	orphans []int
}

// run runs f with a table in virtual time.
func run(t *testing.T, f func(*table)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		stop, cancel := context.WithCancel(t.Context())
		q := &table{t: t, stop: cancel}
		q.Table = New[string](Config[int]{Stop: stop, Term: term, Orphan: func(c int) { q.orphans = append(q.orphans, c) }})
		f(q)
	})
}

// A call is an Enter on its way.
type call struct {
	t      *testing.T
	name   string
	cancel context.CancelFunc
	done   chan struct{}

	ahead string // what blocked was told
	n     int
	times int

	c, nth, seat int
	ok           bool
}

// enter calls Enter, and returns when that has got the lane or waits for it. during, if there is one, runs in blocked.
func (q *table) enter(name string, share bool, during ...func(*call)) *call {
	q.t.Helper()
	return q.call(name, during, func(ctx context.Context, a *call, blocked func(string, int)) {
		a.c, a.nth, a.ok = q.Enter(ctx, key, name, share, blocked)
	})
}

// sit calls EnterSeat, as enter calls Enter.
func (q *table) sit(name string, slots, weight int, during ...func(*call)) *call {
	q.t.Helper()
	return q.call(name, during, func(ctx context.Context, a *call, blocked func(string, int)) {
		a.c, a.seat, a.ok = q.EnterSeat(ctx, key, name, slots, weight, blocked)
	})
}

func (q *table) call(name string, during []func(*call), enter func(ctx context.Context, a *call, blocked func(string, int))) *call {
	q.t.Helper()
	ctx, cancel := context.WithCancel(q.t.Context())
	a := &call{t: q.t, name: name, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		defer func() { _ = recover() }()
		enter(ctx, a, func(ahead string, n int) {
			a.ahead, a.n = ahead, n
			a.times++
			for _, f := range during {
				f(a)
			}
		})
	}()
	synctest.Wait()
	return a
}

// drain calls Drain, as enter calls Enter.
func (q *table) drain() *call {
	ctx, cancel := context.WithCancel(q.t.Context())
	a := &call{t: q.t, name: "drain", cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.ok = q.Drain(ctx)
	}()
	synctest.Wait()
	return a
}

func (q *table) alone(name string) *call   { q.t.Helper(); return q.enter(name, false) }
func (q *table) sharing(name string) *call { q.t.Helper(); return q.enter(name, true) }

// waits wants calls that have not returned.
func (q *table) waits(calls ...*call) {
	q.t.Helper()
	synctest.Wait()
	for _, a := range calls {
		select {
		case <-a.done:
			q.t.Fatalf("%s does not wait: %d, %d, %v", a.name, a.c, a.nth, a.ok)
		default:
		}
	}
}

// has wants calls that have got the lane, with c, and as the nth to share it.
func (a *call) has(c, nth int) *call {
	a.t.Helper()
	synctest.Wait()
	select {
	case <-a.done:
	default:
		a.t.Fatalf("%s still waits", a.name)
	}
	if a.c != c || a.nth != nth || !a.ok {
		a.t.Fatalf("%s got %d, %d, %v; want %d, %d", a.name, a.c, a.nth, a.ok, c, nth)
	}
	return a
}

// sits wants calls that have got that seat, with c.
func (a *call) sits(c, seat int) *call {
	a.t.Helper()
	if a.has(c, 0); a.seat != seat {
		a.t.Fatalf("%s got seat %d, want %d", a.name, a.seat, seat)
	}
	return a
}

// failed wants a call that has returned without the lane.
func (a *call) failed() {
	a.t.Helper()
	synctest.Wait()
	select {
	case <-a.done:
	default:
		a.t.Fatalf("%s still waits", a.name)
	}
	if a.c != 0 || a.nth != 0 || a.ok {
		a.t.Fatalf("%s got %d, %d, %v; want nothing", a.name, a.c, a.nth, a.ok)
	}
}

// withdraw cancels a call that waits.
func (a *call) withdraw() {
	a.t.Helper()
	a.cancel()
	a.failed()
}

// wantVacant wants the lane to be free, and nothing to be left of anybody.
func (q *table) wantVacant() {
	q.t.Helper()
	synctest.Wait()
	if !q.Vacant(key) || q.Waiting(key) != 0 || q.busy.Load() != 0 {
		q.t.Fatalf("vacant: %v, waiting: %d, busy lanes: %d", q.Vacant(key), q.Waiting(key), q.busy.Load())
	}
	for i := range q.shards {
		if n := len(q.shards[i].m); n > 0 {
			q.t.Fatalf("%d lanes are left", n)
		}
	}
}

// harm are ways in which a callback does not return.
var harm = map[string]func(*call){
	"Goexit": func(*call) { runtime.Goexit() },
	"panic":  func(*call) { panic("harm") },
}
