package guard_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

const simMaxHeld = 20 * time.Second

// A process is a client, and a Locker that is sometimes closed and made anew.
type process struct {
	*simtest.Process
	w *world

	restarting atomic.Bool

	mu sync.Mutex
	l  *locker.Locker
}

func (w *world) newProcess(name string) *process {
	p := &process{Process: w.NewProcess(name), w: w}
	p.start(w.Dice)
	return p
}

func (p *process) start(d simtest.Dice) {
	opts := append(p.Options(d), simtest.Retain(d), locker.WithMaxHeldTime(simMaxHeld), locker.WithMonitorTicks(time.Second))
	opts = append(opts, p.Background(nil)...)
	l, err := locker.New(p.Client.Client, opts...)
	if err != nil {
		panic(err)
	}
	p.mu.Lock()
	p.l = l
	p.mu.Unlock()
	for _, k := range p.w.keys {
		p.w.watches.Go(func() { p.watch(l, k) })
	}
}

func (p *process) locker() *locker.Locker {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.l
}

// stop closes the Locker for good, and ends its watches.
func (p *process) stop() { _ = p.locker().Close() }

// watch checks that a watch yields the versions of a list, in order: everything,
// unless there may be gaps, and the last of it at any rate.
func (p *process) watch(l *locker.Locker, k keyspace.Key) {
	w, name := p.w, k.ValuePath(locker.DefaultPrefix)
	w.Mu.Lock()
	start := len(w.lists[name]) - 1
	w.Mu.Unlock()
	var last guard.Version[[]int]
	// at are the versions, by number, of which last may be one: several are not
	// stored, and a Version does not tell which of them it is.
	var at []int
	for v, err := range list(l, k).Watch(context.Background()) {
		w.Mu.Lock()
		all := w.lists[name]
		if err != nil {
			if !errors.Is(err, locker.ErrClosed) {
				w.Fail("%s: watch of %v: %v", p.Name, k, err)
			}
			// A list that is stored and deleted again in a gap is not told as deleted twice.
			now := len(all) - 1
			if w.calm && !slices.Contains(at, now) && !(w.gaps && at != nil && all[now].shows(last)) {
				w.Fail("%s: watch of %v ended with %+v, not with %+v", p.Name, k, last, all[now])
			}
			w.Mu.Unlock()
			continue
		}
		var next []int
		for i := start; i < len(all); i++ {
			follows := at == nil || slices.Contains(at, i-1) || w.gaps && i > at[0]
			if follows && all[i].shows(v) {
				next = append(next, i)
			}
		}
		if next == nil {
			w.Fail("%s: watch of %v yields %+v after %+v; it was %+v", p.Name, k, v, last, all[start:])
			next = []int{len(all) - 1}
		}
		last, at = v, next
		w.tally.Watched++
		w.Mu.Unlock()
	}
}

// A worker is a goroutine of a process.
type worker struct {
	*process
	simtest.Dice
}

// work does random things until the end of the run.
func (p worker) work() {
	for time.Now().Before(p.w.End) {
		time.Sleep(p.Span(0, time.Second))
		ctx, cancel := context.WithTimeout(context.Background(), p.Span(time.Millisecond, 30*time.Second))
		switch n := p.IntN(100); {
		case n < 78:
			p.update(ctx)
		case n < 85:
			p.delete(ctx)
		case n < 93:
			p.get(ctx)
		case n < 98:
			_, _ = p.locker().Evict(ctx, p.anyKeys(1)[0])
		default:
			p.restart()
		}
		cancel()
	}
}

func (p worker) restart() {
	if !p.restarting.CompareAndSwap(false, true) {
		return
	}
	defer p.restarting.Store(false)
	p.w.Logf("%s: close: %v", p.Name, p.locker().Close())
	p.start(p.Dice)
}

// anyKeys returns n keys, or all if there are not so many.
func (p worker) anyKeys(n int) (keys []keyspace.Key) {
	for _, i := range p.Perm(len(p.w.keys))[:min(n, len(p.w.keys))] {
		keys = append(keys, p.w.keys[i])
	}
	return keys
}

// alone draws whether a list is updated without its lock.
func (p worker) alone() (opts []guard.Option[[]int]) {
	if p.Chance(p.w.alone) {
		opts = append(opts, guard.Optimistic[[]int]())
	}
	return opts
}

// update appends a number to one or several lists.
func (p worker) update(ctx context.Context) {
	w, l := p.w, p.locker()
	keys := p.anyKeys(1)
	if p.Chance(0.4) {
		keys = p.anyKeys(1 + p.IntN(3))
	}
	w.Mu.Lock()
	var a attempt
	for _, k := range keys {
		a.names = append(a.names, k.ValuePath(locker.DefaultPrefix))
	}
	id := w.begin(a)
	w.Mu.Unlock()

	own := p.Chance(0.05)
	think := func(ctx context.Context) error {
		d := p.Span(0, 3*time.Second)
		if p.Chance(0.02) {
			d = simMaxHeld + 3*time.Second
		}
		if p.Chance(0.5) { // one that does not look at its context
			time.Sleep(d)
		} else {
			select {
			case <-time.After(d):
			case <-ctx.Done():
			}
		}
		if own {
			return errMine
		}
		return nil
	}
	grown := func(list []int) []int { return append(slices.Clip(list), id) }
	var err error
	switch len(keys) {
	case 1:
		var got []int
		got, err = list(l, keys[0], p.alone()...).Update(ctx, func(ctx context.Context, cur []int) ([]int, error) {
			return grown(cur), think(ctx)
		})
		if err == nil && got[len(got)-1] != id {
			panic("it returned another value")
		}
	case 2:
		err = guard.Update2(ctx, list(l, keys[0]), list(l, keys[1]), func(ctx context.Context, a, b []int) ([]int, []int, error) {
			return grown(a), grown(b), think(ctx)
		})
	default:
		var guards []*guard.Guard[[]int]
		for _, k := range keys {
			guards = append(guards, list(l, k))
		}
		err = guard.UpdateN(ctx, guards, func(ctx context.Context, all [][]int) ([][]int, error) {
			for i := range all {
				all[i] = grown(all[i])
			}
			return all, think(ctx)
		})
	}
	p.judge(id, own, err)
}

// judge notes what an update says has become of it.
func (p worker) judge(id int, own bool, err error) {
	w := p.w
	w.Mu.Lock()
	defer w.Mu.Unlock()
	w.Log("%s: update %d of %v: %v", p.Name, id, w.attempts[id-1].names, err)
	var typed *locker.Error
	switch {
	case err == nil && own:
		w.Fail("%s: update %d succeeded although its function failed", p.Name, id)
	case err == nil:
		w.attempts[id-1].outcome = done
		w.tally.Done++
	case err != errMine && !errors.As(err, &typed):
		w.Fail("%s: %T is not an *Error: %v", p.Name, err, err)
	case errors.Is(err, locker.ErrOutcomeUnknown):
		w.tally.Unknown++
		if errors.Is(err, guard.ErrFenced) {
			w.Fail("%s: update %d is unknown and fenced off: %v", p.Name, id, err)
		}
	default:
		w.attempts[id-1].outcome = failed
		w.tally.Failed++
		if errors.Is(err, guard.ErrFenced) {
			w.tally.Fenced++
			a := w.attempts[id-1]
			ended := errors.Is(err, locker.ErrLost) || errors.Is(err, locker.ErrMaxHeld) || errors.Is(err, locker.ErrClosed)
			if !ended && a.strange == w.changedByStrangers(a.names) {
				w.Fail("%s: update %d of %v is fenced off, though it had the lock and no stranger came: %v", p.Name, id, a.names, err)
			}
		}
	}
}

// delete deletes a list. If that succeeds, the list was not stored at a moment of the call.
func (p worker) delete(ctx context.Context) {
	w, k := p.w, p.anyKeys(1)[0]
	name := k.ValuePath(locker.DefaultPrefix)
	w.Mu.Lock()
	id, before := w.begin(attempt{names: []string{name}, deletes: true}), len(w.lists[name])-1
	w.Mu.Unlock()
	err := list(p.locker(), k, p.alone()...).Delete(ctx)
	p.judge(id, false, err)
	w.Mu.Lock()
	defer w.Mu.Unlock()
	if err != nil {
		return
	}
	w.tally.Deleted++
	if !slices.ContainsFunc(w.lists[name][before:], func(v version) bool { return !v.stored }) {
		w.Fail("%s: the deletion %d of %v succeeded, which was stored all the time", p.Name, id, k)
	}
}

// get checks that what is read was committed, and is no older than the call.
func (p worker) get(ctx context.Context) {
	w, k := p.w, p.anyKeys(1)[0]
	name := k.ValuePath(locker.DefaultPrefix)
	w.Mu.Lock()
	before := len(w.lists[name]) - 1
	w.Mu.Unlock()
	got, err := list(p.locker(), k).GetVersion(ctx)
	w.Mu.Lock()
	defer w.Mu.Unlock()
	w.tally.Gets++
	if err == nil && !slices.ContainsFunc(w.lists[name][before:], func(v version) bool { return v.shows(got) }) {
		w.Fail("%s: %v reads as %+v; it was %+v", p.Name, k, got, w.lists[name][before:])
	}
}
