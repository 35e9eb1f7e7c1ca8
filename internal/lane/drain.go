package lane

import "context"

// free counts a lane as not occupied any more.
func (t *Table[W, C]) free() {
	if t.busy.Add(-1) == 0 {
		t.wake()
	}
}

func (t *Table[W, C]) wake() {
	select {
	case t.idle <- struct{}{}:
	default:
	}
}

// Drain waits until no lane is occupied. It reports false if ctx ends first.
func (t *Table[W, C]) Drain(ctx context.Context) bool {
	for t.busy.Load() > 0 {
		select {
		case <-t.idle:
		case <-ctx.Done():
			return false
		}
	}
	t.wake() // others who wait
	return true
}
