package work

import (
	"flag"
	"slices"
)

var scale = flag.Float64("scale", 0, "how large the sizes of benchmarks are that grow, to those of the report; 0: 0.1, or small with -benchtime 1x")

// Once reports whether the benchmarks run with -benchtime 1x, and no scale: to see that they work, and not for their figures.
// Then what takes long is left out or cut short.
func Once() bool {
	f := flag.Lookup("test.benchtime")
	return f != nil && f.Value.String() == "1x" && *scale == 0
}

// Sizes are those of full as the flag says, and not below once. With Once it is only once.
func Sizes(once int, full ...int) []int {
	if Once() {
		return []int{once}
	}
	by := *scale
	if by == 0 {
		by = 0.1
	}
	sizes := make([]int, len(full))
	for i, n := range full {
		sizes[i] = max(int(float64(n)*by), min(n, once))
	}
	slices.Sort(sizes)
	return slices.Compact(sizes)
}
