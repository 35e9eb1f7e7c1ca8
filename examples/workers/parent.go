package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/phpgao/elock/examples/internal/child"
	"github.com/phpgao/elock/internal/etcdtest/member"
)

type config struct{ jobs, slots int }

// large is the weight of every fifth job.
const large = 3

var names = []string{"ada", "ben", "cleo", "dan"}

// A parent starts the nodes, gives them jobs, prints what they tell, and kills one.
type parent struct {
	config
	*child.Group[event]
	out    io.Writer
	killed string

	todo   map[int]string // which node has which job that is not done
	uses   []use
	begun  int // starts of jobs
	twice  int // jobs that were begun again
	ending bool
}

// A use is what a job does to the number of slots that are taken.
type use struct {
	at     time.Time
	node   string
	job    job
	weight int // below 0 at the end of the job
}

// run starts an etcd and the nodes, and checks that all jobs were done and no more slots
// were used than there are. It leaves nothing behind.
func run(ctx context.Context, c config, out io.Writer) error {
	if c.jobs < 1 || c.slots < large {
		return errors.New("bad flags: see -help")
	}
	etcd, err := member.Launch(ctx, member.Config{})
	if err != nil {
		return errors.Join(ctx.Err(), err)
	}
	defer etcd.Stop()
	p := &parent{config: c, Group: child.NewGroup(hasEnded), out: out, todo: make(map[int]string)}
	fmt.Fprintf(out, "etcd at %s; %d jobs in %d processes, %d slots\n\n", etcd.Endpoint(), c.jobs, len(names), c.slots)
	if err := p.live(ctx, etcd.Endpoint()); err != nil || ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	return p.check()
}

// job returns the job of a number.
func (p *parent) job(id int) job {
	if id%5 == 4 {
		return job{id, large}
	}
	return job{id, 1}
}

// live starts the nodes, gives them all jobs, and returns when all have ended. It stops
// them when ctx is done, or one of them fails.
func (p *parent) live(ctx context.Context, endpoint string) error {
	return p.Play(ctx, func(ctx context.Context) error {
		for _, name := range names {
			if err := p.Start(ctx, name, node{Name: name, Endpoint: endpoint, Slots: p.slots}); err != nil {
				return err
			}
		}
		for id := range p.jobs {
			p.assign(id, names[id%len(names)])
		}
		return nil
	}, p.handle)
}

func hasEnded(name string, err error) event {
	e := event{Node: name, Kind: ended, At: time.Now()}
	if err != nil {
		e.Err = err.Error()
	}
	return e
}

// assign gives a job to a node.
func (p *parent) assign(id int, node string) {
	order, _ := json.Marshal(p.job(id)) // two numbers
	p.todo[id] = node
	p.Processes[node].Say(string(order))
}

// handle prints an event. When a quarter of the jobs has begun, it kills the node of the
// last one.
func (p *parent) handle(ctx context.Context, e event) error {
	switch e.Kind {
	case starts:
		p.print(e, "takes %d of %d slots", e.Job.Weight, p.slots)
		p.uses = append(p.uses, use{e.At, e.Node, e.Job, e.Job.Weight})
		if p.begun++; p.killed == "" && p.begun >= max(1, p.jobs/4) {
			p.killed = e.Node
			p.print(event{Node: e.Node, Job: e.Job, Kind: "KILLED"}, "its slots are free when its lease ends")
			return p.Processes[e.Node].Cmd.Process.Kill()
		}
	case done:
		p.uses = append(p.uses, use{e.At, e.Node, e.Job, -e.Job.Weight})
		delete(p.todo, e.Job.ID)
		if len(p.todo) == 0 && !p.ending {
			p.ending = true
			for _, n := range p.Processes {
				n.Stdin.Close()
			}
		}
	case failed:
		return fmt.Errorf("%s: %s", e.Node, e.Err)
	case ended:
		if e.Node == p.killed {
			p.bury(e)
		} else if e.Err != "" && ctx.Err() == nil {
			return fmt.Errorf("%s: %s", e.Node, e.Err)
		}
	}
	return nil
}

// bury ends what a node that was killed was doing, and gives its jobs to the others.
func (p *parent) bury(e event) {
	running := make(map[int]int)
	for _, u := range p.uses {
		if u.node == e.Node {
			running[u.job.ID] += u.weight
		}
	}
	for id, weight := range running {
		if weight > 0 {
			p.uses = append(p.uses, use{e.At, e.Node, p.job(id), -weight})
			p.twice++
		}
	}
	others := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == e.Node })
	for id := range p.jobs {
		if p.todo[id] == e.Node {
			p.assign(id, others[id%len(others)])
		}
	}
}

func (p *parent) print(e event, format string, args ...any) {
	line := fmt.Sprintf("%s  %-4s  job %2d  %-6s  %s", time.Now().UTC().Format("15:04:05.00"), e.Node, e.Job.ID, e.Kind, fmt.Sprintf(format, args...))
	fmt.Fprintln(p.out, strings.TrimSpace(line))
}

// check looks at all jobs, and at how many slots were taken at each moment.
func (p *parent) check() error {
	if len(p.todo) > 0 {
		return fmt.Errorf("check failed: %d jobs were not done", len(p.todo))
	}
	// A job tells that it is done while it still has its slots, so the next one starts later.
	slices.SortStableFunc(p.uses, func(a, b use) int { return a.at.Compare(b.at) })
	taken, most := 0, 0
	for _, u := range p.uses {
		taken += u.weight
		most = max(most, taken)
	}
	switch {
	case most > p.slots:
		return fmt.Errorf("check failed: %d of %d slots were taken", most, p.slots)
	case taken != 0:
		return fmt.Errorf("check failed: %d slots are taken at the end", taken)
	}
	fmt.Fprintf(p.out, "\ncheck passed: %d jobs are done, and never more than %d of %d slots were taken; %d jobs were begun again, as %s was killed\n",
		p.jobs, most, p.slots, p.twice, p.killed)
	return nil
}
