package xctx

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const grace = 500 * time.Millisecond

type keyOf struct{ string }

// newGrace returns a Grace of caller, with the tries of a Limiter that ends with the test.
func newGrace(t *testing.T, caller context.Context) *Grace {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	limits := NewLimiter(ctx)
	g := &Grace{Caller: caller, Limits: limits, Limit: limits.Within(0), Grace: grace}
	t.Cleanup(g.Stop)
	return g
}

// wantEnd fails the test unless ctx ends after d from now.
func wantEnd(t *testing.T, ctx context.Context, d time.Duration) {
	t.Helper()
	began := time.Now()
	<-ctx.Done()
	if took := time.Since(began); took != d {
		t.Errorf("it ended after %v, want %v", took, d)
	}
}

func TestAGraceOutlivesItsCallerAndHasItsValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller, cancel := context.WithCancel(context.WithValue(t.Context(), keyOf{"a"}, 1))
		g := newGrace(t, caller)
		if g.Value(keyOf{"a"}) != 1 || g.Value(keyOf{"b"}) != nil || g.Err() != nil {
			t.Error("it has not the caller's values")
		}
		if _, ok := g.Deadline(); ok {
			t.Error("it has a deadline")
		}
		cancel()
		if g.Err() != nil {
			t.Error("it ends with the caller")
		}
		wantEnd(t, g, grace)
	})
}

func TestAGraceEndsWithItsLimitAndWhenItIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wantEnd(t, newGrace(t, t.Context()), Patience(0))
		g := newGrace(t, t.Context())
		_ = g.Done()
		g.Stop()
		wantEnd(t, g, 0)
		g = newGrace(t, t.Context())
		g.Stop() // before it was made
		wantEnd(t, g, 0)
		over, cancel := context.WithCancel(t.Context())
		cancel()
		wantEnd(t, newGrace(t, over), grace)
	})
}

func TestAContextWithTheValuesOfAnotherEndsWithItsOwn(t *testing.T) {
	own, cancel := context.WithCancel(context.WithValue(t.Context(), keyOf{"a"}, 1))
	values, end := context.WithCancel(context.WithValue(context.WithValue(t.Context(), keyOf{"a"}, 2), keyOf{"b"}, 3))
	ctx := WithValues(own, values)
	end()
	if ctx.Err() != nil || ctx.Value(keyOf{"a"}) != 1 || ctx.Value(keyOf{"b"}) != 3 {
		t.Errorf("%v, values %v and %v", ctx.Err(), ctx.Value(keyOf{"a"}), ctx.Value(keyOf{"b"}))
	}
	cancel()
	if ctx.Err() == nil {
		t.Error("it goes on")
	}
}

// A bound says that a call outlives another context than its caller.
type bound struct{ context.Context }

func (b bound) Outlives(context.Context) context.Context { return b.Context }

func TestAGraceMayOutliveAnotherContextThanItsCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller, cancel := context.WithCancel(t.Context())
		outer, cancelOuter := context.WithCancel(t.Context())
		g := newGrace(t, caller)
		g.Limit, g.Outliver = g.Limits.For(time.Hour), bound{outer}
		_ = g.Done()
		cancel()
		time.Sleep(time.Minute)
		if g.Err() != nil {
			t.Fatal("it ended with the caller")
		}
		cancelOuter()
		wantEnd(t, g, grace)
	})
}

func TestAGraceKeepsToTheCallersDeadlineAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller, cancel := context.WithTimeout(t.Context(), time.Minute)
		g := newGrace(t, caller)
		g.Limit, g.Outliver = g.Limits.For(time.Hour), bound{t.Context()}
		_ = g.Done()
		cancel()
		wantEnd(t, g, time.Minute+grace)
	})
}

func TestDoneChansAreClosedBeforeTheContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller, cancel := context.WithCancel(t.Context())
		g := newGrace(t, caller)
		ended, other := DoneChans(g)
		if ended != caller.Done() || other != g.Limit.Done() || g.ctx != nil {
			t.Error("not those of the caller and the limit, or it was made")
		}
		if ended, other := DoneChans(caller); ended != caller.Done() || other != nil {
			t.Error("not those of a plain context")
		}
		cancel()
	})
}

var errPassing, errFinal = errors.New("passing"), errors.New("final")

func passes(err error) bool { return errors.Is(err, errPassing) }

// A script fails with its errors, one after the other, and notes when it was called and the limit of each call.
type script struct {
	errs  []error
	calls []time.Duration
	began time.Time
	hang  bool // each call hangs until its context ends
}

func (s *script) call(ctx context.Context) error {
	s.calls = append(s.calls, time.Since(s.began))
	if s.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if len(s.calls) <= len(s.errs) {
		return s.errs[len(s.calls)-1]
	}
	return nil
}

func TestPersistTriesAgainWhatPassesWithPausesThatGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := script{began: time.Now(), errs: []error{errPassing, errPassing, errPassing}}
		if err := newGrace(t, t.Context()).Persist(s.call, passes); err != nil {
			t.Error(err)
		}
		ms := time.Millisecond
		if want := []time.Duration{0, 20 * ms, 60 * ms, 140 * ms}; !slices.Equal(s.calls, want) {
			t.Errorf("calls after %v, want %v", s.calls, want)
		}
		s = script{began: time.Now(), errs: []error{errPassing, errFinal}}
		if err := newGrace(t, t.Context()).Persist(s.call, passes); err != errFinal || len(s.calls) != 2 {
			t.Errorf("got %v after %d calls", err, len(s.calls))
		}
		s = script{began: time.Now(), errs: slices.Repeat([]error{errPassing}, 20)}
		if err := newGrace(t, t.Context()).Persist(s.call, passes); err != nil {
			t.Error(err)
		}
		if last := s.calls[20] - s.calls[19]; last != maxPause {
			t.Errorf("the last pause is %v", last)
		}
	})
}

func TestPersistHasAPatienceForEachTryAndNotesSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		g := newGrace(t, caller)
		g.Silent = new(atomic.Int64)
		time.Sleep(time.Millisecond) // Silent is not 0 then
		s := script{began: time.Now(), hang: true}
		if err := g.Persist(s.call, passes); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if took := time.Since(s.began); took != 12*time.Second-time.Millisecond+grace {
			t.Errorf("it took %v", took)
		}
		var tries []time.Duration
		for i := range s.calls[1:] {
			tries = append(tries, (s.calls[i+1] - s.calls[i]).Truncate(time.Second))
		}
		if want := []time.Duration{0, time.Second, time.Second, 2 * time.Second, 4 * time.Second}; !slices.Equal(tries[1:], want[1:]) {
			t.Errorf("tries of %v, want %v", tries, want)
		}
		if g.Silent.Load() == 0 {
			t.Error("silence was not noted")
		}
	})
}

func TestPersistEndsAfterItsTotal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, hang := range []bool{true, false} {
			g := newGrace(t, t.Context())
			g.Total = 5 * time.Second
			s := script{began: time.Now(), hang: hang, errs: slices.Repeat([]error{errPassing}, 100)}
			if err := g.Persist(s.call, passes); err == nil {
				t.Error("no error")
			}
			if took := time.Since(s.began); took != g.Total {
				t.Errorf("hang %v: it took %v", hang, took)
			}
		}
	})
}

// When the caller has ended, what is left of the grace is for one more try.
func TestPersistGoesOnForTheGraceAfterItsCallerHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over, cancel := context.WithCancel(t.Context())
		cancel()
		s := script{began: time.Now(), errs: []error{errPassing, errPassing}}
		if err := newGrace(t, over).Persist(s.call, passes); err != nil || len(s.calls) != 3 {
			t.Errorf("got %v after %d calls", err, len(s.calls))
		}
		s = script{began: time.Now(), errs: slices.Repeat([]error{errPassing}, 100)}
		if err := newGrace(t, over).Persist(s.call, passes); err != errPassing || time.Since(s.began) != grace {
			t.Errorf("got %v after %v", err, time.Since(s.began))
		}
	})
}

func TestPersistEndsWhenItsOwnerCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		owner, cancel := context.WithCancel(t.Context())
		limits := NewLimiter(owner)
		g := &Grace{Caller: t.Context(), Limits: limits, Limit: limits.Within(0), Grace: grace}
		defer g.Stop()
		s := script{errs: slices.Repeat([]error{errPassing}, 100)}
		time.AfterFunc(3*time.Second, cancel)
		began := time.Now()
		if err := g.Persist(s.call, passes); err != errPassing || time.Since(began) > 4*time.Second {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
	})
}

func TestOneLongerCallHasALimitOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGrace(t, context.WithValue(t.Context(), keyOf{"a"}, 1))
		long := g.For(time.Minute)
		defer long.Stop()
		if long.Value(keyOf{"a"}) != 1 {
			t.Error("it has not the caller's values")
		}
		wantEnd(t, long, time.Minute)
	})
}

func TestTheErrorOfAContextTellsItsCause(t *testing.T) {
	own := errors.New("own")
	for cause, want := range map[error][]error{nil: {context.Canceled}, errFinal: {context.Canceled, errFinal}, own: {own}} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		err := Err(ctx, own)
		for _, w := range want {
			if !errors.Is(err, w) {
				t.Errorf("got %v, want %v", err, w)
			}
		}
		if cause == own && err != own {
			t.Errorf("got %v", err)
		}
	}
}
