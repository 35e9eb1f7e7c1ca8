// Package leak knows which goroutines a test binary may leave over.
package leak

import (
	"sync"

	"go.uber.org/goleak"
)

var (
	mu      sync.Mutex // guards excused
	excused []goleak.Option
)

// Excuse excuses the goroutines of now: some of them are known never to end, for no fault of the library.
func Excuse() {
	mu.Lock()
	defer mu.Unlock()
	excused = append(excused, goleak.IgnoreCurrent())
}

// Find returns an error that describes the goroutines that are left over.
func Find(ignore ...goleak.Option) error {
	mu.Lock()
	defer mu.Unlock()
	return goleak.Find(append(ignore, excused...)...)
}
