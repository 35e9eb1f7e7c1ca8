package locktest

import (
	"testing"
	"testing/synctest"
	"time"
)

// Wait bounds what a test waits for; a test that passes never waits so long.
const Wait = 30 * time.Second

// Async runs f and returns a function that waits for its end and returns its result.
func Async[T any](tb testing.TB, f func() T) func() T {
	done := make(chan T, 1)
	go func() { done <- f() }()
	return func() T {
		tb.Helper()
		return Receive(tb, done)
	}
}

// Receive returns what comes from c, or that c is closed.
func Receive[T any](tb testing.TB, c <-chan T) T {
	tb.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(Wait):
		tb.Fatal("waited too long")
		panic("unreachable")
	}
}

// Until waits for cond to become true.
func Until(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	deadline := time.Now().Add(Wait)
	for !cond() {
		if time.Now().After(deadline) {
			tb.Fatalf("waited too long until %s", what)
		}
		time.Sleep(time.Millisecond) // the period of a poll
	}
}

// Virtual runs a test in virtual time, beside others.
func Virtual(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// PanicOf runs f and returns the value it panics with.
func PanicOf(f func()) (p any) {
	defer func() { p = recover() }()
	f()
	return nil
}
