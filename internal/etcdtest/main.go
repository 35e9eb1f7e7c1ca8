package etcdtest

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/phpgao/elock/internal/etcdtest/leak"
	"github.com/phpgao/elock/internal/etcdtest/member"
	"github.com/phpgao/elock/internal/etcdtest/mode"
	"github.com/phpgao/elock/internal/etcdtest/process"
)

// Main is the TestMain of packages that use this one: it runs the tests, stops what they shared, and fails if a goroutine is
// left over. An option that ignores one says why in a comment. Where the version of etcd is missing that the flags ask for,
// it says so and runs no test.
func Main(m *testing.M, leaks ...goleak.Option) {
	flag.Parse()
	if err := member.Available(context.Background(), mode.Version()); err != nil {
		process.Say("etcdtest: tests are skipped: " + err.Error())
		os.Exit(0)
	}
	code := m.Run()
	stopToxiproxy()
	if err := stopShared(); err != nil {
		fmt.Fprintln(os.Stderr, "etcdtest:", err)
		code = max(code, 1)
	}
	// After a failed test, leftovers are no news.
	if code == 0 {
		if err := leak.Find(leaks...); err != nil {
			fmt.Fprintln(os.Stderr, "etcdtest: goroutines left over:", err)
			code = 1
		}
	}
	os.Exit(code)
}
