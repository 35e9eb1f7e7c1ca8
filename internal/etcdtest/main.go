package etcdtest

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Main is the TestMain of packages that use this one: it runs the tests, stops what they shared, and fails if a goroutine is
// left over. An option that ignores one says why in a comment.
func Main(m *testing.M, leaks ...goleak.Option) {
	code := m.Run()
	stopToxiproxy()
	if err := stopShared(); err != nil {
		fmt.Fprintln(os.Stderr, "etcdtest:", err)
		code = max(code, 1)
	}
	// After a failed test, leftovers are no news.
	if code == 0 {
		if err := goleak.Find(leaks...); err != nil {
			fmt.Fprintln(os.Stderr, "etcdtest: goroutines left over:", err)
			code = 1
		}
	}
	os.Exit(code)
}
