package clock_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/phpgao/elock/internal/clock"
)

func TestInstant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, mono := clock.Read(), clock.Mono()
		deadline := began.Add(10 * time.Second)
		time.Sleep(4 * time.Second)
		now := clock.Read()
		if left := deadline.Until(now); left != 6*time.Second {
			t.Errorf("%v left", left)
		}
		if d := clock.Mono() - mono; d != int64(4*time.Second) {
			t.Errorf("the monotonic clock went %v", time.Duration(d))
		}
		for name, it := range map[string]struct {
			now  clock.Instant
			left time.Duration
		}{
			"the wall clock is set back":    {clock.Instant{Mono: now.Mono, Wall: now.Wall - time.Hour}, 6 * time.Second},
			"the wall clock is set forward": {clock.Instant{Mono: now.Mono, Wall: now.Wall + time.Hour}, 6*time.Second - time.Hour},
			"the machine slept":             {clock.Instant{Mono: now.Mono, Wall: now.Wall + time.Minute}, 6*time.Second - time.Minute},
		} {
			if left := deadline.Until(it.now); left != it.left {
				t.Errorf("%s: %v left, want %v", name, left, it.left)
			}
		}
	})
}
