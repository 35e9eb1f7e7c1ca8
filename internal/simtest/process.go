package simtest

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// A Process is a client in a world.
type Process struct {
	Name   string
	Client *etcdsim.Client
	Dead   atomic.Bool // it reaches etcd no more

	background bool // it releases in the background
}

// NewProcess returns a process with a client of its own.
func (w *World) NewProcess(name string) *Process {
	p := &Process{Name: name, Client: w.Sim.NewClient(name)}
	w.Mu.Lock()
	defer w.Mu.Unlock()
	p.background = NewDice(w.Seed, 1<<33+uint64(len(w.processes))).Chance(0.5)
	w.processes = append(w.processes, p)
	return p
}

// Options returns those of a Locker of the process, which keeps quiet: some of them as d has it.
func (p *Process) Options(d Dice) []locker.Option {
	opts := []locker.Option{
		locker.WithHandoff([]time.Duration{0, locker.DefaultHandoff, 100 * time.Millisecond}[d.IntN(3)]),
		locker.WithOwner(p.Name),
		locker.WithLogger(slog.New(slog.DiscardHandler)),
		locker.WithTTL(d.Span(MinTTL, MaxTTL)),
	}
	if d.Chance(0.3) {
		opts = append(opts, locker.WithoutBatching())
	}
	return opts
}

// Retain returns the option that has locks retained, or not, as d has it.
func Retain(d Dice) locker.Option {
	return locker.WithRetain([]time.Duration{0, 0, 500 * time.Millisecond, 10 * time.Second}[d.IntN(4)])
}

// Background returns options that have the process release in the background, or none, as its world has it. Other draws stay
// what they are. failed is called with what such a release finds; it may be nil.
func (p *Process) Background(failed func(key keyspace.Key, err error)) []locker.Option {
	if !p.background {
		return nil
	}
	return []locker.Option{locker.WithReleaseInBackground(failed)}
}

// MinTTL and MaxTTL are the bounds of TTLs.
const (
	MinTTL = 2 * time.Second
	MaxTTL = 12 * time.Second
)
