package health

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phpgao/elock/internal/clock"
)

var errSilent = errors.New("silent")

// fail makes a call that fails after d.
func fail(s *Signal, d time.Duration) {
	sent := clock.Mono()
	time.Sleep(d)
	s.Failed(sent, errSilent)
}

func TestASignalTellsASilenceThatLasts(t *testing.T) {
	second := time.Second
	for name, it := range map[string]struct {
		play  func(s *Signal)
		since time.Duration // how long ago it began; 0: there is none
	}{
		"nothing is known":    {func(*Signal) {}, 0},
		"all is answered":     {func(s *Signal) { s.Answered() }, 0},
		"one failure":         {func(s *Signal) { fail(s, second) }, 0},
		"two that take long":  {func(s *Signal) { fail(s, second); fail(s, second) }, 2 * second},
		"one that takes long": {func(s *Signal) { fail(s, 5*second) }, 5 * second},
		"many": {func(s *Signal) {
			for range 60 {
				fail(s, second)
			}
		}, 60 * second},
		"a pause between":   {func(s *Signal) { fail(s, 0); time.Sleep(5 * second); fail(s, 0) }, 5 * second},
		"mended":            {func(s *Signal) { fail(s, 5*second); s.Answered() }, 0},
		"mended, then one":  {func(s *Signal) { fail(s, 5*second); s.Answered(); fail(s, second) }, 0},
		"mended, then many": {func(s *Signal) { fail(s, 5*second); s.Answered(); time.Sleep(second); fail(s, second); fail(s, second) }, 2 * second},
		"a call hangs while others are answered": {func(s *Signal) {
			var hang sync.WaitGroup
			hang.Go(func() { fail(s, 10*second) })
			time.Sleep(9 * second)
			s.Answered()
			hang.Wait()
		}, 0},
		"an early call fails last": {func(s *Signal) {
			var hang sync.WaitGroup
			hang.Go(func() { fail(s, 5*second) })
			time.Sleep(3 * second)
			fail(s, second)
			hang.Wait()
		}, 5 * second},
		"long ago":                       {func(s *Signal) { fail(s, 5*second); time.Sleep(31 * second) }, 0},
		"begins anew after a long pause": {func(s *Signal) { fail(s, 5*second); time.Sleep(time.Hour); fail(s, second) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s Signal
				it.play(&s)
				since, err := s.Silence()
				if (it.since == 0) != (err == nil) || (it.since == 0) != since.IsZero() || it.since != 0 && time.Since(since) != it.since {
					t.Errorf("silent for %v: %v; want %v", time.Since(since), err, it.since)
				}
			})
		})
	}
}
