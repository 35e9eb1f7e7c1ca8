package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/phpgao/elock/election"
	"github.com/phpgao/elock/examples/internal/child"
	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/internal/etcdtest/member"
	"github.com/phpgao/elock/locker"
)

var names = []string{"ada", "ben", "cleo"}

// termTime is how long the parent lets each node lead.
const termTime = 700 * time.Millisecond

// A parent starts the nodes, observes the election, and says what is to happen.
type parent struct {
	*child.Group[event]
	out    io.Writer
	mu     sync.Mutex // guards out and killed
	killed string
}

// run starts an etcd and the nodes, has the leader hand over to each other node, kills
// the last one, and checks who led. It leaves nothing behind.
func run(ctx context.Context, out io.Writer) error {
	etcd, err := member.Launch(ctx, member.Config{})
	if err != nil {
		return errors.Join(ctx.Err(), err)
	}
	defer etcd.Stop()
	p := &parent{Group: child.NewGroup(hasEnded), out: out}
	p.print("", "etcd at %s", etcd.Endpoint())
	stopObserving, err := p.observe(ctx, etcd.Endpoint())
	if err != nil {
		return err
	}
	defer stopObserving()
	led, err := p.live(ctx, etcd.Endpoint())
	if err != nil || ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	stopObserving()
	return check(led, p.killed, out)
}

// observe prints what anybody can observe, and returns what ends that.
func (p *parent) observe(ctx context.Context, endpoint string) (stop func(), err error) {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	if err != nil {
		return nil, err
	}
	l, err := locker.New(client, locker.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	e, err := election.New(l, key, guard.JSON[status]())
	if err != nil {
		return nil, errors.Join(err, l.Close(), client.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		for now, err := range e.Observe(ctx) {
			switch {
			case err != nil:
				p.print("", "the observer: %v", err)
			case now.Vacant():
				p.print("", "nobody leads")
			default:
				p.print("", "%s leads, process %d, with %d jobs", now.Name, now.Value.PID, now.Value.Jobs)
			}
		}
	})
	return sync.OnceFunc(func() {
		cancel()
		done.Wait()
		_ = l.Close()
		_ = client.Close()
	}), nil
}

// live starts the nodes and returns who led, in order, when all have ended.
func (p *parent) live(ctx context.Context, endpoint string) (led []string, err error) {
	err = p.Play(ctx, func(ctx context.Context) error {
		for _, name := range names {
			if err := p.Start(ctx, name, node{Name: name, Endpoint: endpoint}); err != nil {
				return err
			}
		}
		return nil
	}, func(ctx context.Context, e event) error {
		if e.Kind == leads {
			led = append(led, e.Node)
			p.print(e.Node, "leads with token %d", e.Token)
			n := len(led)
			time.AfterFunc(termTime, func() { p.next(n, e.Node) })
		}
		return p.handle(ctx, e)
	})
	return led, err
}

func hasEnded(name string, err error) event {
	e := event{Node: name, Kind: ended}
	if err != nil {
		e.Text = err.Error()
	}
	return e
}

// next says what comes after the n-th term, of that node.
func (p *parent) next(n int, leader string) {
	switch {
	case n < len(names):
		to := names[0]
		for i, name := range names {
			if name == leader {
				to = names[(i+1)%len(names)]
			}
		}
		p.Processes[leader].Say(to)
	case n == len(names):
		p.print(leader, "KILLED; its term ends with its lease")
		p.mu.Lock()
		p.killed = leader
		p.mu.Unlock()
		_ = p.Processes[leader].Cmd.Process.Kill()
	case n == len(names)+1:
		for _, n := range p.Processes {
			_ = n.Stdin.Close() // they end
		}
	}
}

// handle prints an event, and returns what is wrong.
func (p *parent) handle(ctx context.Context, e event) error {
	switch e.Kind {
	case ends:
		p.print(e.Node, "%s", e.Text)
	case failed:
		return fmt.Errorf("%s: %s", e.Node, e.Text)
	case ended:
		p.mu.Lock()
		killed := p.killed
		p.mu.Unlock()
		if e.Text != "" && e.Node != killed && ctx.Err() == nil {
			return fmt.Errorf("%s: %s", e.Node, e.Text)
		}
	}
	return nil
}

func (p *parent) print(node, format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "%s  %-4s  %s\n", time.Now().UTC().Format("15:04:05.00"), node, fmt.Sprintf(format, args...))
}

// check looks at who led: each node, and then another than the one that was killed.
func check(led []string, killed string, out io.Writer) error {
	led = led[:min(len(led), len(names)+1)] // another may lead while the nodes end
	seen := make(map[string]bool)
	for _, name := range led[:min(len(led), len(names))] {
		seen[name] = true
	}
	if len(led) <= len(names) || len(seen) != len(names) || led[len(names)] == killed {
		return fmt.Errorf("check failed: %v led, and %s was killed", led, killed)
	}
	fmt.Fprintf(out, "\ncheck passed: %v led, one after the other; %s was killed, and %s followed\n", led, killed, led[len(names)])
	return nil
}
