//go:build race

package simtest

// The race detector makes a seed some ten times as slow, and finds a race in one of the first or in none.
const defaultSeeds = 100
