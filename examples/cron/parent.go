package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/phpgao/elock/examples/internal/child"
	"github.com/phpgao/elock/internal/etcdtest/member"
)

type config struct {
	ticks     int
	lockAlone bool
}

// skews are how much the clocks of the nodes are fast. Each node starts the job by its own
// clock. One that is slow by more than a period would find its ticks too old.
var skews = []struct {
	node string
	skew time.Duration
}{{"ada", 0}, {"ben", 400 * time.Millisecond}, {"cleo", -400 * time.Millisecond}}

// A parent starts the nodes, prints what they tell, and kills one.
type parent struct {
	config
	*child.Group[event]
	out    io.Writer
	start  time.Time // the first tick
	ready  int
	killed string
	runs   map[string]int // how often each tick was started
	done   map[string]int // and done
}

// run starts an etcd and the nodes, and checks that each tick was done once. It leaves
// nothing behind.
func run(ctx context.Context, c config, out io.Writer) error {
	if c.ticks < 1 {
		return errors.New("bad flags: see -help")
	}
	etcd, err := member.Launch(ctx, member.Config{})
	if err != nil {
		return errors.Join(ctx.Err(), err)
	}
	defer etcd.Stop()
	p := &parent{
		config: c,
		Group:  child.NewGroup(hasEnded),
		out:    out,
		runs:   make(map[string]int),
		done:   make(map[string]int),
	}
	fmt.Fprintf(out, "etcd at %s; the clock of %s is right, that of %s is %v fast, that of %s is %v slow\n\n",
		etcd.Endpoint(), skews[0].node, skews[1].node, skews[1].skew, skews[2].node, -skews[2].skew)
	if err := p.live(ctx, etcd.Endpoint()); err != nil || ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	return p.check()
}

// tick is how the i-th tick shows.
func (p *parent) tick(i int) string {
	return p.start.Add(time.Duration(i) * every).UTC().Format(time.TimeOnly)
}

// live starts the nodes and returns when all have ended. It stops them when ctx is done,
// or one of them fails.
func (p *parent) live(ctx context.Context, endpoint string) error {
	return p.Play(ctx, func(ctx context.Context) error {
		for _, s := range skews {
			if err := p.Start(ctx, s.node, node{Name: s.node, Endpoint: endpoint, Skew: s.skew, Ticks: p.ticks, LockAlone: p.lockAlone}); err != nil {
				return err
			}
		}
		return nil
	}, p.handle)
}

func hasEnded(name string, err error) event {
	e := event{Node: name, Kind: ended}
	if err != nil {
		e.Err = err.Error()
	}
	return e
}

// handle prints an event. It lets a job go on, and kills its node if it is the first one
// of the tick in the middle.
func (p *parent) handle(ctx context.Context, e event) error {
	switch e.Kind {
	case ready:
		if p.ready++; p.ready == len(skews) {
			p.start = time.Now().Add(every + every/2).Round(every)
			for _, n := range p.Processes {
				n.Say(p.start.Format(time.RFC3339))
			}
		}
	case starts:
		p.print(e, "token %d", e.Token)
		p.runs[e.Tick]++
		if !p.lockAlone && p.killed == "" && e.Tick == p.tick(p.ticks/2) {
			p.killed = e.Node
			p.print(event{Node: e.Node, Tick: e.Tick, Kind: "KILLED"}, "its lock is free when its lease ends")
			return p.Processes[e.Node].Cmd.Process.Kill()
		}
		p.Processes[e.Node].Say("")
	case done:
		p.print(e, "")
		p.done[e.Tick]++
	case found, old:
		p.print(e, "")
	case failed:
		return fmt.Errorf("%s: %s", e.Node, e.Err)
	case ended:
		if e.Err != "" && e.Node != p.killed && ctx.Err() == nil {
			return fmt.Errorf("%s: %s", e.Node, e.Err)
		}
	}
	return nil
}

func (p *parent) print(e event, format string, args ...any) {
	line := fmt.Sprintf("%s  %-4s  %s  %-8s  %s", time.Now().UTC().Format("15:04:05.00"), e.Node, e.Tick, e.Kind, fmt.Sprintf(format, args...))
	fmt.Fprintln(p.out, strings.TrimSpace(line))
}

// check looks at what became of each tick.
func (p *parent) check() error {
	all := 0
	for i := range p.ticks {
		tick := p.tick(i)
		all += p.done[tick]
		if !p.lockAlone && p.done[tick] != 1 {
			return fmt.Errorf("check failed: %s was done %d times", tick, p.done[tick])
		}
	}
	if p.lockAlone {
		fmt.Fprintf(p.out, "\nwith a lock alone, the job was done %d times for %d ticks\n", all, p.ticks)
		return nil
	}
	fmt.Fprintf(p.out, "\ncheck passed: each of %d ticks was done once; that of %s was begun %d times, as %s was killed\n",
		p.ticks, p.tick(p.ticks/2), p.runs[p.tick(p.ticks/2)], p.killed)
	return nil
}
