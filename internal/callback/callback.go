// Package callback runs code of the user, such as hooks and log handlers, so that it can do no harm: it may panic, call
// runtime.Goexit or be slow. It knows nothing of locks.
package callback

import (
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Call runs f and recovers a panic. If f calls runtime.Goexit, Call does not return. In both cases it first calls failed, with
// what f panicked with, or nil, and the stack.
func Call(f func(), failed func(panicked any, stack string)) {
	exits := true
	defer func() {
		if p := recover(); p != nil || exits {
			failed(p, string(debug.Stack()))
		}
	}()
	f()
	exits = false
}

// Apart runs f on a goroutine of its own and waits for its end, so that runtime.Goexit ends no other goroutine.
func Apart(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

// slow is after how long a call no longer holds up others.
const slow = 2 * time.Millisecond

// Each calls f for each of items, and waits for all calls. They begin in this order, on one goroutine, and on more while all of
// those are stuck in slow calls, or gone by runtime.Goexit.
func Each[T any](items []T, f func(T)) {
	var next atomic.Int64
	var workers sync.WaitGroup
	defer workers.Wait()
	work := func() {
		for i := next.Add(1) - 1; i < int64(len(items)); i = next.Add(1) - 1 {
			f(items[i])
		}
	}
	tick := time.NewTicker(slow)
	defer tick.Stop()
	for more := int64(1); ; {
		before := next.Load()
		left := int64(len(items)) - before
		if left <= 0 {
			return
		}
		more = min(more, left)
		for range more {
			workers.Go(work)
		}
		<-tick.C
		if next.Load() > before+more { // some of them get on
			more = 1
		} else {
			more *= 2
		}
	}
}
