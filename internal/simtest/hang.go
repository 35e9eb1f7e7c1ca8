package simtest

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/phpgao/elock/internal/etcdtest/leak"
)

// outlive lets a seed pass whose world has ended and whose client hangs in Close: the goroutines of etcd's client can wait for each
// other for good where several watches end at once, as docs/guarantees.md says under what remains. Call it by defer. Any other
// panic goes on.
func (w *World) outlive(t *testing.T) {
	p := recover()
	if p == nil {
		return
	}
	if !w.closing || !strings.HasPrefix(fmt.Sprint(p), "deadlock:") || !onlyEtcdsClientWaits() {
		panic(p)
	}
	leak.Excuse()
	t.Logf("seed %d: passed, but Close of etcd's client hangs", w.Seed)
}

// onlyEtcdsClientWaits reports whether the goroutines that are left in bubbles are those of a client that is being closed.
func onlyEtcdsClientWaits() bool {
	stacks := make([]byte, 1<<22)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for one := range strings.SplitSeq(string(stacks), "\n\n") {
		head, calls, _ := strings.Cut(one, "\n")
		switch {
		case !strings.Contains(head, "synctest bubble"), strings.Contains(head, "[running"):
		case strings.Contains(calls, "client/v3.(*watchGRPCStream)"):
		case strings.HasPrefix(calls, "testing/synctest.testingSynctestTest"): // waits for the world
		default:
			return false
		}
	}
	return true
}
