package once_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/once"
)

// errCrash is what a function returns whose process is dead. Nobody hears of it.
var errCrash = errors.New("test: the process is dead")

// A node is a machine with a clock. Its process dies now and then, and is started again.
type node struct {
	w    *world
	name string
	simtest.Dice
	id    uint64
	skew  time.Duration // what its clock shows, less the time
	procs []*process

	mu   sync.Mutex
	next []int // of each worker, its tick
}

func (w *world) newNode(seed, i uint64) *node {
	n := &node{w: w, name: fmt.Sprint("n", i), Dice: simtest.NewDice(seed, 1+i), id: seed}
	n.skew = time.Duration((n.Float64() - 0.5) * float64(w.every))
	if n.Chance(0.1) {
		n.skew *= 5 // worse than it may be
	}
	n.next = make([]int, 1+n.IntN(2))
	return n
}

// live runs processes until all ticks are done.
func (n *node) live() {
	for {
		p := n.start()
		var wg sync.WaitGroup
		for i := range n.next {
			wg.Go(worker{p, simtest.NewDice(n.id, uint64(1000*len(n.procs)+100*int(n.name[1])+i)), i}.work)
		}
		wg.Wait()
		if !p.Dead.Load() {
			break
		}
		time.Sleep(n.Span(0, 2*n.w.every))
	}
	for _, p := range n.procs {
		_ = p.l.Close()
	}
}

// A process is a client with a Locker, until it crashes.
type process struct {
	*node
	*simtest.Process
	l *locker.Locker
}

func (n *node) start() *process {
	p := &process{node: n, Process: n.w.NewProcess(fmt.Sprintf("%s.%d", n.name, len(n.procs)))}
	l, err := locker.New(p.Client.Client, append(append(p.Options(n.Dice), simtest.Retain(n.Dice)), p.Background(nil)...)...)
	if err != nil {
		panic(err)
	}
	p.l = l
	n.mu.Lock()
	defer n.mu.Unlock()
	n.procs = append(n.procs, p)
	return p
}

// process returns the node's process, nil before the first.
func (n *node) process() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.procs) == 0 {
		return nil
	}
	return n.procs[len(n.procs)-1]
}

// A worker is a goroutine of a process that has the job on its schedule.
type worker struct {
	*process
	simtest.Dice
	i int
}

func (p worker) work() {
	w := p.w
	for p.next[p.i] < simTicks && !p.Dead.Load() {
		n := p.next[p.i]
		// It starts when its own clock says so, a little early or late.
		local := w.Began.Add(time.Duration((float64(n) + 0.9*(p.Float64()-0.5)) * float64(w.every)))
		time.Sleep(time.Until(local.Add(-p.skew)))
		tick := once.At(local, w.every)
		if w.ticks[tick] != n {
			panic("another tick")
		}
		for !p.Dead.Load() && !p.do(n, tick) {
			time.Sleep(p.Span(0, time.Second))
		}
		if !p.Dead.Load() {
			p.next[p.i]++
		}
	}
}

// do calls Do for the tick, and reports whether there is no more to do.
func (p worker) do(n int, tick string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), p.Span(10*time.Millisecond, time.Minute))
	defer cancel()
	var opts []once.Option
	if p.w.skip {
		opts = append(opts, once.Skip())
	}
	if p.Chance(0.1) {
		opts = append(opts, once.NoWait())
	}
	var token locker.Token
	started := false
	var own error // of the function
	ran, err := p.recovered(func() (bool, error) {
		return once.Do(ctx, p.l, key, tick, func(ctx context.Context, h *locker.Hold) error {
			token, started = h.Token(), true
			own = errPanic // unless it returns
			own = p.run(ctx, h, n, tick)
			return own
		}, opts...)
	})
	if p.Dead.Load() {
		return false // nobody hears of it
	}
	if own != nil && !errors.Is(err, own) {
		w := p.w
		w.Mu.Lock()
		w.Fail("%s: tick %d failed with %v, and Do says %v", p.Name, n, own, err)
		w.Mu.Unlock()
	}
	p.judge(n, tick, token, started, ran, err)
	return err == nil || errors.Is(err, once.ErrOldTick)
}

// errPanic is the panic of a function.
var errPanic = errors.New("test: a panic")

func (p worker) recovered(f func() (bool, error)) (ran bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			if r != errPanic {
				panic(r)
			}
			ran, err = true, errPanic
		}
	}()
	return f()
}

// run is the job.
func (p worker) run(ctx context.Context, h *locker.Hold, n int, tick string) error {
	w := p.w
	w.Mu.Lock()
	w.tally.Runs++
	w.starts[n]++
	w.Log("%s: runs tick %d with token %d", p.Name, n, h.Token())
	switch {
	case w.skip && w.marked[h.Token()] != tick:
		w.Fail("%s: tick %d is run without its mark", p.Name, n)
	case !w.skip && len(w.marks) > n && w.Profile.Safe():
		w.Fail("%s: tick %d is run after its mark", p.Name, n)
	}
	w.Mu.Unlock()

	d := p.Span(0, 2*w.every)
	if p.Chance(0.02) {
		d += 15 * time.Second
	}
	if p.Chance(0.5) { // one that does not look at its context
		time.Sleep(d)
	} else {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", errMine, context.Cause(ctx))
		}
	}
	switch x := p.Float64(); {
	case p.Dead.Load():
		return errCrash
	case x < 0.03 && w.Profile != simtest.Calm:
		w.Crash(p.Process)
		if p.Chance(0.5) {
			return errCrash
		}
		return nil // it had just returned
	case x < 0.08:
		return errMine
	case x < 0.1:
		panic(errPanic)
	}
	return nil
}

// judge notes what Do says, and whether it is so.
func (p worker) judge(n int, tick string, token locker.Token, started, ran bool, err error) {
	w := p.w
	w.Mu.Lock()
	defer w.Mu.Unlock()
	w.Log("%s: tick %d: %v, %v", p.Name, n, ran, err)
	if ran != started {
		w.Fail("%s: tick %d: ran is %v", p.Name, n, ran)
	}
	unknown := errors.Is(err, locker.ErrOutcomeUnknown)
	var typed *locker.Error
	switch {
	case err != nil && !errors.Is(err, errMine) && err != errPanic && !errors.As(err, &typed):
		w.Fail("%s: %T is not an *Error: %v", p.Name, err, err)
	case errors.Is(err, once.ErrMarker) || errors.Is(err, locker.ErrInvalidOption):
		w.Fail("%s: tick %d: %v", p.Name, n, err)
	case err == nil && ran && w.marked[token] != tick:
		w.Fail("%s: tick %d is not marked by its run", p.Name, n)
	case err == nil && !ran && n >= len(w.marks):
		w.Fail("%s: tick %d is not marked", p.Name, n)
	case errors.Is(err, once.ErrOldTick) && (ran || n >= len(w.marks)-1):
		w.Fail("%s: tick %d is not old: %d are marked", p.Name, n, len(w.marks))
	case ran && err != nil && !unknown && !w.skip && w.marked[token] != "":
		w.Fail("%s: tick %d is marked by a run that says it is not: %v", p.Name, n, err)
	}
	if ran && err != nil && !unknown && !w.skip {
		w.unmarked[token] = true
	}
	switch {
	case unknown:
		w.tally.Unknown++
	case err == nil && !ran:
		w.tally.Done++
	case errors.Is(err, once.ErrOldTick):
		w.tally.Old++
	case errors.Is(err, locker.ErrLost):
		w.tally.Lost++
	case ran && err != nil:
		w.tally.Failed++
	}
}
