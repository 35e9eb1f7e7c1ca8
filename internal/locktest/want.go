package locktest

import (
	"errors"
	"testing"

	"github.com/phpgao/elock/locker"
)

// WantErr fails the test unless err matches all of want.
func WantErr(tb testing.TB, err error, want ...error) {
	tb.Helper()
	for _, w := range want {
		if !errors.Is(err, w) {
			tb.Fatalf("got error %v, want %v", err, w)
		}
	}
}

// CheckErr fails the test, which goes on, unless err matches all of want, nil if there are none. Any goroutine may call it.
func CheckErr(tb testing.TB, err error, want ...error) {
	tb.Helper()
	if len(want) == 0 && err != nil {
		tb.Errorf("got error %v", err)
	}
	for _, w := range want {
		if !errors.Is(err, w) {
			tb.Errorf("got error %v, want %v", err, w)
		}
	}
}

// WantLost fails the test unless err is a LostError with the reason.
func WantLost(tb testing.TB, err error, why locker.Reason) {
	tb.Helper()
	lost, ok := errors.AsType[*locker.LostError](err)
	if !ok || lost.Reason != why || !errors.Is(err, locker.ErrLost) {
		tb.Fatalf("got error %v, want it lost: %v", err, why)
	}
}

// Must fails the test at an error.
func Must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// Second returns the error of a call with two results.
func Second[T any](_ T, err error) error { return err }
