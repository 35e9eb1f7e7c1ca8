package locktest

import (
	"flag"
	"runtime"
	"strconv"
	"testing"

	"github.com/phpgao/elock/internal/etcdtest"
)

// Main is etcdtest.Main for packages whose tests wait most of the time: more of them run at once than there are processors,
// unless -parallel says how many.
func Main(m *testing.M) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "test.parallel" })
	if !asked {
		if err := flag.Set("test.parallel", strconv.Itoa(3*runtime.GOMAXPROCS(0))); err != nil {
			panic(err)
		}
	}
	etcdtest.Main(m)
}

// heavy are the tests that may load the machine at a time.
var heavy = make(chan struct{}, 2)

// Heavy is t.Parallel for a test that loads the machine, such as one with a cluster of its own. Few of them run at once.
func Heavy(t *testing.T) {
	t.Helper()
	t.Parallel()
	heavy <- struct{}{}
	t.Cleanup(func() { <-heavy })
}
