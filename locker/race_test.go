//go:build race

package locker_test

// The race detector makes the tests of many goroutines some times slower.
func init() { slower = 4 }
