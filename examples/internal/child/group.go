package child

import (
	"context"
	"errors"
	"sync"
)

// A Group is the child processes of a parent, by their names. All tell events of type E.
type Group[E any] struct {
	Processes map[string]Process

	ended   func(name string, err error) E
	events  chan E
	senders sync.WaitGroup // of events
}

// NewGroup returns an empty Group. ended makes the event that a process has ended; err is that of its end.
func NewGroup[E any](ended func(name string, err error) E) *Group[E] {
	return &Group[E]{Processes: make(map[string]Process), ended: ended, events: make(chan E)}
}

// Add adds a process that has been started. It is for the start of Play.
func (g *Group[E]) Add(name string, p Process) {
	g.Processes[name] = p
	g.senders.Go(func() {
		err := Listen(p, func(e E) { g.events <- e })
		g.events <- g.ended(name, err)
	})
}

// Start starts this program again, as a process that is given config, and adds it.
func (g *Group[E]) Start(ctx context.Context, name string, config any) error {
	p, err := Start(ctx, config)
	if err == nil {
		g.Add(name, p)
	}
	return err
}

// Play calls start, which adds processes, and then handle for each event, one at a time, until all have ended. The context of both
// is done when either fails, and the error says why.
func (g *Group[E]) Play(ctx context.Context, start func(context.Context) error, handle func(context.Context, E) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err := start(ctx)
	if err != nil {
		cancel()
	}
	go func() {
		g.senders.Wait()
		close(g.events)
	}()
	for e := range g.events {
		if wrong := handle(ctx, e); wrong != nil {
			err = errors.Join(err, wrong)
			cancel()
		}
	}
	return err
}
