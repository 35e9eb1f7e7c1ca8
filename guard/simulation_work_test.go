package guard_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

const simMaxHeld = 20 * time.Second

// A process is a client, and a Locker that is sometimes closed and made anew.
type process struct {
	w      *world
	name   string
	client *etcdsim.Client

	restarting atomic.Bool

	mu sync.Mutex
	l  *locker.Locker
}

func (w *world) newProcess(name string) *process {
	p := &process{w: w, name: name, client: w.sim.NewClient(name)}
	p.start(w.dice)
	return p
}

func (p *process) start(d dice) {
	opts := []locker.Option{
		locker.WithHandoff([]time.Duration{0, locker.DefaultHandoff, 100 * time.Millisecond}[d.IntN(3)]),
		locker.WithRetain([]time.Duration{0, 0, 500 * time.Millisecond, 10 * time.Second}[d.IntN(4)]),
		locker.WithOwner(p.name),
		locker.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))),
		locker.WithTTL(d.span(2*time.Second, 12*time.Second)),
		locker.WithMaxHeldTime(simMaxHeld),
		locker.WithMonitorTicks(time.Second),
	}
	if d.chance(0.3) {
		opts = append(opts, locker.WithoutBatching())
	}
	l, err := locker.New(p.client.Client, opts...)
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

// watch checks that a watch yields what is committed, in order: everything,
// unless there may be gaps, and the last of it at any rate.
func (p *process) watch(l *locker.Locker, k keyspace.Key) {
	w, name := p.w, k.ValuePath(locker.DefaultPrefix)
	var last []int
	yields := 0
	for list, err := range list(l, k).Watch(context.Background()) {
		w.mu.Lock()
		now := w.lists[name]
		switch {
		case err != nil:
			if !errors.Is(err, locker.ErrClosed) {
				w.fail("%s: watch of %v: %v", p.name, k, err)
			}
			if w.calm && len(last) != len(now) {
				w.fail("%s: watch of %v ended with %v, not with %v", p.name, k, last, now)
			}
		case len(list) > len(now) || !slices.Equal(list, now[:len(list)]):
			w.fail("%s: watch of %v yields %v, which never was", p.name, k, list)
		case yields > 0 && (len(list) <= len(last) || len(list) > len(last)+1 && !w.gaps):
			w.fail("%s: watch of %v yields %v after %v", p.name, k, list, last)
		default:
			last = list
			w.tally.Watched++
		}
		yields++
		w.mu.Unlock()
	}
}

// A worker is a goroutine of a process.
type worker struct {
	*process
	dice
}

// work does random things until the end of the run.
func (p worker) work() {
	for time.Now().Before(p.w.end) {
		time.Sleep(p.span(0, time.Second))
		ctx, cancel := context.WithTimeout(context.Background(), p.span(time.Millisecond, 30*time.Second))
		switch n := p.IntN(100); {
		case n < 85:
			p.update(ctx)
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
	p.w.logf("%s: close: %v", p.name, p.locker().Close())
	p.start(p.dice)
}

// anyKeys returns n keys, or all if there are not so many.
func (p worker) anyKeys(n int) (keys []keyspace.Key) {
	for _, i := range p.Perm(len(p.w.keys))[:min(n, len(p.w.keys))] {
		keys = append(keys, p.w.keys[i])
	}
	return keys
}

// update appends a number to one or several lists.
func (p worker) update(ctx context.Context) {
	w, l := p.w, p.locker()
	keys := p.anyKeys(1)
	if p.chance(0.4) {
		keys = p.anyKeys(1 + p.IntN(3))
	}
	w.mu.Lock()
	a := attempt{outcome: unknown}
	for _, k := range keys {
		a.names = append(a.names, k.ValuePath(locker.DefaultPrefix))
	}
	w.attempts = append(w.attempts, a)
	id := len(w.attempts)
	w.mu.Unlock()

	own := p.chance(0.05)
	think := func(ctx context.Context) error {
		d := p.span(0, 3*time.Second)
		if p.chance(0.02) {
			d = simMaxHeld + 3*time.Second
		}
		if p.chance(0.5) { // one that does not look at its context
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
		got, err = list(l, keys[0]).Update(ctx, func(ctx context.Context, cur []int) ([]int, error) {
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
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log("%s: update %d of %v: %v", p.name, id, w.attempts[id-1].names, err)
	var typed *locker.Error
	switch {
	case err == nil && own:
		w.fail("%s: update %d succeeded although its function failed", p.name, id)
	case err == nil:
		w.attempts[id-1].outcome = done
		w.tally.Done++
	case err != errMine && !errors.As(err, &typed):
		w.fail("%s: %T is not an *Error: %v", p.name, err, err)
	case errors.Is(err, locker.ErrOutcomeUnknown):
		w.tally.Unknown++
		if errors.Is(err, guard.ErrFenced) {
			w.fail("%s: update %d is unknown and fenced off: %v", p.name, id, err)
		}
	default:
		w.attempts[id-1].outcome = failed
		w.tally.Failed++
		if errors.Is(err, guard.ErrFenced) {
			w.tally.Fenced++
		}
	}
}

// get checks that what is read was committed, and is no older than the call.
func (p worker) get(ctx context.Context) {
	w, k := p.w, p.anyKeys(1)[0]
	name := k.ValuePath(locker.DefaultPrefix)
	w.mu.Lock()
	before := len(w.lists[name])
	w.mu.Unlock()
	got, err := list(p.locker(), k).Get(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tally.Gets++
	if now := w.lists[name]; err == nil && (len(got) < before || len(got) > len(now) || !slices.Equal(got, now[:len(got)])) {
		w.fail("%s: %v reads as %v; it has %d numbers and is now %v", p.name, k, got, before, now)
	}
}
