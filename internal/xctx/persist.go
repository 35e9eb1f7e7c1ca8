package xctx

import (
	"context"
	"time"

	"github.com/phpgao/elock/internal/clock"
)

// Persist calls f, and calls it again while it fails and the try was not answered in time, or passes says of its error that it
// passes. Each try has a patience of its own, and between them are pauses that grow. It returns f's last error when f succeeds or
// fails for good, or when g ends. f must be safe to repeat: an earlier try may have been carried out, or may yet be.
func (g *Grace) Persist(f func(ctx context.Context) error, passes func(error) bool) error {
	began, wait := time.Now(), FirstPause
	t := g
	if g.Limit.Err() != nil {
		t = g.next(0, g.left(began))
	}
	defer func() {
		if t != g {
			t.Stop()
		}
	}()
	for n := 1; ; n++ {
		err := f(t)
		unanswered := t.Limit.Err() != nil
		if err == nil || !unanswered && !passes(err) {
			return err
		}
		if unanswered && g.Silent != nil {
			g.Silent.Store(clock.Mono())
		}
		if g.Outlives().Err() != nil {
			// What is left of the grace, which began with that, is left of t.
			if t.Err() != nil {
				return err
			}
			Pause(t, wait)
		} else {
			Pause(g.Outlives(), min(wait, g.left(began)))
		}
		wait = min(2*wait, maxPause)
		switch left := g.left(began); {
		case left <= 0 || g.Outlives().Err() != nil && t.Err() != nil:
			return err
		case g.Outlives().Err() == nil:
			if t != g {
				t.Stop()
			}
			t = g.next(n, left)
		}
	}
}

// left returns for how long g goes on at most, as long as what it outlives has not ended.
func (g *Grace) left(began time.Time) time.Duration {
	switch {
	case g.Limits.Parent().Err() != nil:
		return 0
	case g.Total > 0:
		return g.Total - time.Since(began)
	}
	return time.Hour
}

// next returns a Grace like g for the n-th try, of which there is so much left.
func (g *Grace) next(n int, left time.Duration) *Grace {
	if left < Patience(n) {
		return g.For(left)
	}
	return g.limited(g.Limits.Within(n))
}

// For returns a Grace like g for one longer call.
func (g *Grace) For(d time.Duration) *Grace { return g.limited(g.Limits.For(d)) }

func (g *Grace) limited(limit context.Context) *Grace {
	return &Grace{Caller: g.Caller, Limit: limit, Limits: g.Limits, Total: g.Total, Grace: g.Grace, Silent: g.Silent, Outliver: g.Outliver}
}
