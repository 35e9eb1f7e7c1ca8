//go:build !linux

package nemesis_test

import "time"

// now is the wall clock, which all processes share too. It must not be set during a run.
func now() int64 { return time.Now().UnixNano() }
