package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// Limits is the configuration: how many requests a server lets through.
type Limits struct {
	PerSecond int `json:"perSecond"`
	AtOnce    int `json:"atOnce"`
}

// builtIn are in force while none are stored.
var builtIn = Limits{PerSecond: 10, AtOnce: 1}

func (l Limits) String() string { return fmt.Sprintf("%d a second, %d at once", l.PerSecond, l.AtOnce) }

var errInvalid = errors.New("invalid limits")

func (l Limits) check() error {
	if l.AtOnce > l.PerSecond {
		return fmt.Errorf("%w: %d at once are more than %d a second", errInvalid, l.AtOnce, l.PerSecond)
	}
	return nil
}

func limits(l *locker.Locker) *guard.Guard[Limits] {
	return guard.New(l, keyspace.MustParse("config/limits"), guard.Stored(guard.JSON[Limits]()))
}

// A change is what an operator asks for.
type change struct {
	name   string
	change func(*Limits)
}

var changes = []change{
	{"first limits", func(l *Limits) { *l = Limits{PerSecond: 100, AtOnce: 10} }},
	{"double the rate", func(l *Limits) { l.PerSecond *= 2 }},
	{"allow 500 at once", func(l *Limits) { l.AtOnce = 500 }}, // refused
	{"allow 50 at once", func(l *Limits) { l.AtOnce = 50 }},
	{"a tenth of the rate", func(l *Limits) { l.PerSecond /= 10 }}, // refused
	{"half of all", func(l *Limits) { l.PerSecond /= 2; l.AtOnce /= 2 }},
}

// apply makes the change. If the limits are invalid then, nothing is stored, and
// no server ever sees them.
func (c change) apply(ctx context.Context, l *locker.Locker) (Limits, error) {
	return limits(l).Update(ctx, func(_ context.Context, cur Limits) (Limits, error) {
		c.change(&cur)
		return cur, cur.check()
	})
}
