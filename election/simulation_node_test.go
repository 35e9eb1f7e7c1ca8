package election_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/phpgao/elock/election"
	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/locker"
)

// A node is a machine. Its process dies now and then, and is started again.
type node struct {
	w    *world
	name string
	simtest.Dice
	id     uint64
	sawEnd bool // guarded by the world's Mu

	mu    sync.Mutex
	procs []*process
}

// A process is a client with a Locker and a candidate.
type process struct {
	*node
	*simtest.Process
	simtest.Dice
	l    *locker.Locker
	e    *elected
	life context.Context // until it crashes
	die  context.CancelFunc
}

func (n *node) start() *process {
	started := len(n.all())
	p := &process{
		node:    n,
		Process: n.w.NewProcess(fmt.Sprintf("%s.%d", n.name, started)),
		Dice:    simtest.NewDice(n.id, uint64(100*int(n.name[1])+started)),
	}
	p.life, p.die = context.WithCancel(context.Background())
	opts := append(p.Options(p.Dice), simtest.Retain(p.Dice), locker.WithMonitorTicks(time.Second), locker.WithOwner(n.name))
	var err error
	p.l, err = locker.New(p.Client.Client, append(opts, p.Background(nil)...)...)
	if err != nil {
		panic(err)
	}
	if p.e, err = election.New(p.l, key, text, election.Acquiring(locker.MaxHeld(time.Minute))); err != nil {
		panic(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.procs = append(n.procs, p)
	return p
}

func (n *node) all() []*process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.procs[:len(n.procs):len(n.procs)]
}

// process returns the node's process.
func (n *node) process() *process {
	all := n.all()
	return all[len(all)-1]
}

// live runs processes until the faults are over.
func (n *node) live() {
	for time.Now().Before(n.w.End) {
		p := n.process()
		if p.Dead.Load() {
			time.Sleep(n.Span(0, 20*time.Second))
			p = n.start()
		}
		p.campaign()
	}
}

// crash is the end of a process, and of its campaign.
func (p *process) crash() {
	if p.w.Crash(p.Process) {
		p.die()
	}
}

// campaign runs the election once.
func (p *process) campaign() {
	ctx, cancel := context.WithDeadline(p.life, p.w.End)
	defer cancel()
	if p.Chance(0.2) {
		ctx, cancel = context.WithTimeout(ctx, p.node.Span(0, time.Minute))
		defer cancel()
	}
	defer func() {
		if r := recover(); r != nil && r != errPanic {
			panic(r)
		}
	}()
	err := p.e.Run(ctx, p.Name, p.lead)
	p.w.Mu.Lock()
	defer p.w.Mu.Unlock()
	p.w.Log("%s: Run: %v", p.Name, err)
	if p.Dead.Load() {
		return
	}
	var typed *locker.Error
	switch {
	case err != nil && err != errMine && !errors.As(err, &typed) && !errors.Is(err, context.Cause(ctx)):
		p.w.Fail("%s: %T is not an *Error: %v", p.Name, err, err)
	case errors.Is(err, locker.ErrInvalidOption) || errors.Is(err, locker.ErrDeadlock):
		p.w.Fail("%s: %v", p.Name, err)
	case p.e.IsLeader():
		p.w.Fail("%s leads after Run", p.Name)
	}
}

var errPanic = errors.New("test: a panic")

// lead is a term.
func (p *process) lead(ctx context.Context, t *term) error {
	w := p.w
	w.Mu.Lock()
	w.tally.Terms++
	w.Log("%s: leads with token %d", p.Name, t.Token())
	w.alone(p)
	if w.Profile.Safe() && t.Token() <= w.token {
		w.Fail("%s: token %d after %d", p.Name, t.Token(), w.token)
	}
	w.token = max(w.token, t.Token())
	w.Mu.Unlock()

	for n := 0; ; n++ {
		select {
		case <-time.After(p.Dice.Span(0, 5*time.Second)):
		case <-ctx.Done():
		}
		w.Mu.Lock()
		if t.Context().Err() == nil && p.e.IsLeader() {
			w.alone(p)
		}
		w.Mu.Unlock()
		if ctx.Err() != nil {
			w.Mu.Lock()
			if errors.Is(context.Cause(ctx), locker.ErrLost) {
				w.tally.Lost++
			}
			if p.e.IsLeader() && !errors.Is(context.Cause(ctx), context.Canceled) && !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				w.Fail("%s: the context of its term is done, and it is the leader", p.Name)
			}
			w.Mu.Unlock()
			return context.Cause(ctx)
		}
		brief, cancel := context.WithTimeout(ctx, p.Dice.Span(10*time.Millisecond, 10*time.Second))
		switch x := p.Dice.Float64(); {
		case x < 0.5:
			p.proclaim(brief, t, fmt.Sprintf("%s+%d", p.Name, n))
		case x < 0.7:
			cancel()
			return p.resign(ctx, t)
		case x < 0.85:
			if p.handOver(brief, t) {
				cancel()
				return nil
			}
		case x < 0.9:
			cancel()
			panic(errPanic)
		case x < 0.95:
			cancel()
			return errMine
		}
		cancel()
	}
}

func (p *process) proclaim(ctx context.Context, t *term, value string) {
	err := t.Proclaim(ctx, value)
	w := p.w
	w.Mu.Lock()
	defer w.Mu.Unlock()
	w.Log("%s: proclaims %s: %v", p.Name, value, err)
	switch {
	case err == nil:
		w.tally.Proclaimed++
		seen := false
		for _, h := range w.heads {
			seen = seen || h.token == t.Token() && h.value == value
		}
		if !seen {
			w.Fail("%s: etcd has never had %s", p.Name, value)
		}
	case errors.Is(err, locker.ErrOutcomeUnknown):
		w.tally.Unknown++
	}
}

func (p *process) resign(ctx context.Context, t *term) error {
	err := t.Resign(ctx)
	w := p.w
	w.Mu.Lock()
	defer w.Mu.Unlock()
	w.Log("%s: resigns: %v", p.Name, err)
	w.tally.Resigned++
	if p.e.IsLeader() {
		w.Fail("%s has resigned, and is the leader", p.Name)
	}
	return nil
}

// handOver reports whether the term is over.
func (p *process) handOver(ctx context.Context, t *term) bool {
	w := p.w
	to := w.nodes[p.Dice.IntN(len(w.nodes))].name
	err := t.ResignTo(ctx, to)
	w.Mu.Lock()
	defer w.Mu.Unlock()
	w.Log("%s: hands over to %s: %v", p.Name, to, err)
	switch {
	case errors.Is(err, election.ErrNoCandidate):
		w.tally.NoCandidate++
		return false
	case err != nil:
		return !p.e.IsLeader()
	}
	w.tally.HandedOver++
	for i, h := range w.heads[:len(w.heads)-1] {
		if next := w.heads[i+1]; w.Profile.Safe() && h.token == t.Token() && next.token != h.token && next.token != 0 && !w.named(next, to) {
			// It may be somebody else if the candidate has gone in between.
			w.Log("%s: %s leads instead of %s", p.Name, next.value, to)
		}
	}
	if p.e.IsLeader() {
		w.Fail("%s has handed over, and is the leader", p.Name)
	}
	return true
}

func (w *world) named(s sight, name string) bool {
	return len(s.value) >= len(name) && s.value[:len(name)] == name
}

// observe watches the election from each process of the node, as long as that lives.
func (n *node) observe(ctx context.Context) {
	for ctx.Err() == nil {
		p := n.process()
		alive, cancel := context.WithCancel(ctx)
		stop := context.AfterFunc(p.life, cancel)
		last := -1
		for l, err := range p.e.Observe(alive) {
			if err != nil {
				n.w.Mu.Lock()
				n.w.Fail("%s: Observe: %v", p.Name, err)
				n.w.Mu.Unlock()
				time.Sleep(time.Second)
				break
			}
			if p.Dead.Load() {
				break
			}
			last = n.w.observed(p.Name, last, l)
			n.w.Mu.Lock()
			n.sawEnd = l.Vacant()
			n.w.Mu.Unlock()
		}
		stop()
		cancel()
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}
