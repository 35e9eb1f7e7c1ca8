package watchstream

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// probed lets one watch probe s for so many ticks, answered or not, and returns how
// often it was asked to answer, and how many streams were replaced.
func probed(t *testing.T, s *Streams, ticks int, answered bool) (asked, replaced int) {
	t.Helper()
	ctx := s.Context(t.Context())
	for range ticks {
		time.Sleep(Tick)
		stays := s.Probe(ctx, func(inner context.Context) error {
			asked++
			if _, bounded := inner.Deadline(); !bounded || sent(inner) != sent(ctx) {
				t.Error("it asks without a bound, or on another stream")
			}
			if answered {
				s.Heard(inner, true)
			}
			return nil
		})
		if !stays {
			replaced++
			ctx = s.Context(t.Context())
		}
	}
	return asked, replaced
}

func TestASilentStreamIsAskedAndThenReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s Streams
		if _, n := probed(t, &s, 3600, false); n != 0 {
			t.Errorf("%d streams replaced though etcd never answers", n)
		}
		s.Heard(s.Context(t.Context()), false)
		asked, n := probed(t, &s, 60, true)
		if n != 0 || asked > 60 {
			t.Errorf("%d streams replaced, asked %d times", n, asked)
		}
		if _, n := probed(t, &s, 4, false); n != 1 {
			t.Errorf("%d streams replaced in 4 seconds of silence", n)
		}
		// Where answers do not come any more, the patience grows.
		if _, n := probed(t, &s, 3600, false); n < 3600/35 || n > 3600/30+5 {
			t.Errorf("%d streams replaced in an hour of silence", n)
		}
		time.Sleep(time.Minute)
		probed(t, &s, 5, true)
		if _, n := probed(t, &s, 4, false); n != 1 {
			t.Errorf("%d streams replaced in 4 seconds of silence", n)
		}
	})
}

func TestAStreamIsAskedOnceForAllItsWatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s Streams
		asked := 0
		ctx := s.Context(t.Context())
		for range 10 {
			time.Sleep(Tick)
			for range 5 {
				s.Probe(ctx, func(context.Context) error { asked++; s.Heard(ctx, true); return nil })
			}
		}
		if asked != 10 {
			t.Errorf("asked %d times in 10 seconds", asked)
		}
	})
}

func TestAStreamThatSaysSomethingIsNotAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s Streams
		ctx := s.Context(t.Context())
		for range 10 {
			time.Sleep(Tick / 2)
			s.Heard(ctx, false)
			time.Sleep(Tick / 2)
			if !s.Probe(ctx, func(context.Context) error { t.Error("asked"); return nil }) {
				t.Error("the stream was replaced")
			}
		}
	})
}

func TestAWatchOfAStreamThatWasReplacedHasToMove(t *testing.T) {
	t.Parallel()
	var s Streams
	old := s.Context(t.Context())
	s.Replace(old)
	if s.Probe(old, nil) {
		t.Error("the watch stays on its old stream")
	}
	s.Heard(old, true)
	if s.pulse.Proven() {
		t.Error("the old stream answers for the new one")
	}
}

// A process that stood still, or whose watches were busy, has heard no answer.
func TestASilenceInWhichNobodyListenedDoesNotCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s Streams
		probed(t, &s, 3, true)
		ctx := s.Context(t.Context())
		for range 10 {
			for range 3 {
				time.Sleep(Tick)
				if !s.Probe(ctx, func(context.Context) error { return nil }) {
					t.Fatal("the stream was replaced")
				}
			}
			time.Sleep(time.Minute)
			if !s.Probe(ctx, func(context.Context) error { return nil }) {
				t.Fatal("the stream was replaced")
			}
			s.Heard(ctx, true)
		}
	})
}
