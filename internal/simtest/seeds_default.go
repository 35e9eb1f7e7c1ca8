//go:build !race

package simtest

const defaultSeeds = 200

func oneProcessor() (end func()) { return func() {} }
