package simtest

import (
	"math/rand/v2"
	"time"
)

// Dice are the chance of one goroutine: if several shared it, a seed would not replay.
type Dice struct{ *rand.Rand }

// NewDice returns those of the id-th goroutine of a seed.
func NewDice(seed, id uint64) Dice { return Dice{rand.New(rand.NewPCG(seed, id))} }

// Span returns a random duration; short ones are as likely as long ones.
func (d Dice) Span(min, max time.Duration) time.Duration {
	scale := d.Float64()
	return min + time.Duration(float64(max-min)*scale*scale*scale)
}

// Chance is true with the probability p.
func (d Dice) Chance(p float64) bool { return d.Float64() < p }
