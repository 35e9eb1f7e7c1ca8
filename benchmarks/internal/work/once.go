package work

import "flag"

// Once reports whether the benchmarks run with -benchtime 1x: to see that they work, and not for their figures. Then what
// takes long is left out or cut short.
func Once() bool {
	f := flag.Lookup("test.benchtime")
	return f != nil && f.Value.String() == "1x"
}
