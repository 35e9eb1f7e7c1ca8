package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/phpgao/elock/examples/internal/child"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

const (
	jobTime = 150 * time.Millisecond
	lockTTL = 2 * time.Second // how long a killed process keeps its slots
)

var key = keyspace.MustParse("jobs/slots")

// A node is a process that runs jobs, as many at once as it gets slots for.
type node struct {
	Name     string
	Endpoint string // of etcd
	Slots    int
}

// A job takes Weight of the slots.
type job struct{ ID, Weight int }

// An event is what a node tells its parent: a line of JSON.
type event struct {
	Node string
	Kind kind
	Job  job
	At   time.Time // by the clock of this machine, which all processes share
	Err  string    `json:",omitempty"`
}

type kind string

const (
	starts kind = "starts"    // a job, which has its slots
	done   kind = "done"      // a job, which still has them
	failed kind = "failed"    // for a reason that should not be
	ended  kind = "has ended" // the process; told by the parent
)

// runNode is a node's main, and reports whether this process is one.
func runNode() bool {
	return child.Main((*node).live, func(n *node, err error) { n.tell(event{Kind: failed, Err: err.Error()}) })
}

func (n *node) tell(e event) {
	e.Node, e.At = n.Name, time.Now()
	child.Tell(e)
}

// live runs the jobs that come from standard input, each on a goroutine of its own, until
// that ends.
func (n *node) live() error {
	l, end, err := child.Locker(n.Endpoint, n.Name, lockTTL)
	if err != nil {
		return err
	}
	defer end()

	var jobs sync.WaitGroup
	defer jobs.Wait()
	for orders := json.NewDecoder(os.Stdin); ; {
		var j job
		if err := orders.Decode(&j); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		jobs.Go(func() {
			if err := n.run(context.Background(), l, j); err != nil {
				n.tell(event{Kind: failed, Job: j, Err: err.Error()})
			}
		})
	}
}

// run runs a job when there are slots for it.
func (n *node) run(ctx context.Context, l *locker.Locker, j job) error {
	return l.RunInLock(ctx, key, func(ctx context.Context, _ *locker.Hold) error {
		n.tell(event{Kind: starts, Job: j})
		select {
		case <-time.After(jobTime):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		n.tell(event{Kind: done, Job: j})
		return nil
	}, locker.Slots(n.Slots), locker.Weight(j.Weight))
}
