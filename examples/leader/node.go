package main

import (
	"bufio"
	"context"
	"os"
	"time"

	"github.com/phpgao/elock/election"
	"github.com/phpgao/elock/examples/internal/child"
	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

const lockTTL = 2 * time.Second // how long a killed leader is waited for

var key = keyspace.MustParse("scheduler")

// A status is what a leader announces.
type status struct {
	PID  int
	Jobs int // that it has scheduled
}

// A node is a process that wants to lead.
type node struct {
	Name     string
	Endpoint string // of etcd
}

// An event is what a node tells its parent: a line of JSON.
type event struct {
	Node  string
	Kind  kind
	Token locker.Token `json:",omitempty"`
	Text  string       `json:",omitempty"`
}

type kind string

const (
	leads  kind = "leads"
	ends   kind = "ends"   // its term, for the reason in Text
	failed kind = "failed" // for a reason that should not be
	ended  kind = "ended"  // the process; told by the parent
)

// runNode is a node's main, and reports whether this process is one.
func runNode() bool {
	return child.Main((*node).live, func(n *node, err error) { n.tell(event{Kind: failed, Text: err.Error()}) })
}

func (n *node) tell(e event) {
	e.Node = n.Name
	child.Tell(e)
}

// live campaigns again and again, until the parent closes the node's stdin.
func (n *node) live() error {
	l, end, err := child.Locker(n.Endpoint, n.Name, lockTTL)
	if err != nil {
		return err
	}
	defer end()
	e, err := election.New(l, key, guard.JSON[status]())
	if err != nil {
		return err
	}

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	orders := make(chan string) // to whom to hand over
	go func() {
		defer stop()
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			orders <- in.Text()
		}
	}()
	for {
		err := e.Run(ctx, status{PID: os.Getpid()}, func(ctx context.Context, t *election.Term[status]) error {
			return n.lead(ctx, t, orders)
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
	}
}

// lead does what a leader does, until the term ends. When it returns nil, having handed over, the
// node campaigns again.
func (n *node) lead(ctx context.Context, t *election.Term[status], orders <-chan string) error {
	n.tell(event{Kind: leads, Token: t.Token()})
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for s := (status{PID: os.Getpid()}); ; {
		select {
		case <-tick.C:
			s.Jobs++
			if err := t.Proclaim(ctx, s); err != nil {
				return err
			}
		case to := <-orders:
			if err := t.ResignTo(ctx, to); err != nil {
				return err
			}
			n.tell(event{Kind: ends, Token: t.Token(), Text: "handed over to " + to})
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
