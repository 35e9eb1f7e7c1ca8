package main

import (
	"bufio"
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/phpgao/elock/examples/internal/child"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/once"
)

const (
	every   = time.Second
	jobTime = 200 * time.Millisecond
	lockTTL = 2 * time.Second // how long a killed node blocks the job
)

var errNoParent = errors.New("the parent is gone")

var key = keyspace.MustParse("reports/secondly")

// A node is a process with a clock of its own and the job on its schedule.
type node struct {
	Name      string
	Endpoint  string        // of etcd
	Skew      time.Duration // its clock is so much fast
	Ticks     int
	LockAlone bool

	orders *bufio.Scanner // the time of the first tick, and then a line for each run that may go on
}

// An event is what a node tells its parent: a line of JSON.
type event struct {
	Node, Tick string
	Kind       kind
	Token      locker.Token `json:",omitempty"`
	Err        string       `json:",omitempty"`
}

type kind string

const (
	ready  kind = "ready"
	starts kind = "starts"    // the job
	done   kind = "done"      // the tick is marked
	found  kind = "was done"  // the tick was marked
	old    kind = "too old"   // a later tick was marked
	failed kind = "failed"    // for a reason that should not be
	ended  kind = "has ended" // the process; told by the parent
)

// runNode is a node's main, and reports whether this process is one.
func runNode() bool {
	return child.Main((*node).live, func(n *node, err error) { n.tell(event{Kind: failed, Err: err.Error()}) })
}

func (n *node) tell(e event) {
	e.Node = n.Name
	child.Tell(e)
}

// live starts the job whenever the node's clock says so, as a cron does: on a goroutine
// of its own, whether or not the last one has ended.
func (n *node) live() error {
	l, end, err := child.Locker(n.Endpoint, n.Name, lockTTL)
	if err != nil {
		return err
	}
	defer end()

	n.orders = bufio.NewScanner(os.Stdin)
	n.tell(event{Kind: ready})
	if !n.orders.Scan() {
		return errNoParent
	}
	start, err := time.Parse(time.RFC3339, n.orders.Text())
	if err != nil {
		return err
	}
	var jobs sync.WaitGroup
	for i := range n.Ticks {
		at := start.Add(time.Duration(i) * every)
		time.Sleep(at.Sub(n.clock()))
		jobs.Go(func() { n.scheduled(l) })
	}
	jobs.Wait()
	return nil
}

// clock is what the node takes for the time.
func (n *node) clock() time.Time { return time.Now().Add(n.Skew) }

// scheduled is what the schedule calls.
func (n *node) scheduled(l *locker.Locker) {
	tick := once.At(n.clock(), every)
	e := event{Tick: tick[len("2006-01-02T") : len(tick)-len(".000Z")]}
	ran, err := n.once(context.Background(), l, tick, func(ctx context.Context, h *locker.Hold) error {
		n.tell(event{Kind: starts, Tick: e.Tick, Token: h.Token()})
		return n.report(ctx)
	})
	switch {
	case errors.Is(err, once.ErrOldTick):
		e.Kind = old
	case err != nil:
		e.Kind, e.Err = failed, err.Error()
	case ran:
		e.Kind = done
	default:
		e.Kind = found
	}
	n.tell(e)
}

// once is once.Do, or what one may think of instead.
func (n *node) once(ctx context.Context, l *locker.Locker, tick string, fn func(context.Context, *locker.Hold) error) (ran bool, err error) {
	if n.LockAlone {
		return true, l.RunInLock(ctx, key, fn)
	}
	return once.Do(ctx, l, key, tick, fn)
}

// report is the job. It goes on when the parent allows it, and returns an error if it
// stops early.
func (n *node) report(ctx context.Context) error {
	if !n.orders.Scan() {
		return errNoParent
	}
	select {
	case <-time.After(jobTime):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
