package guard_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// A form is Run or TryRun: what holds for both is tested with both.
type form func(g *guard.Guard[int], ctx context.Context, fn guard.Func[int]) (int, error)

var forms = map[string]form{"Run": (*guard.Guard[int]).Run, "TryRun": (*guard.Guard[int]).TryRun}

// eachForm runs a test with Run and TryRun on a guard of one process, beside
// which there is another.
func eachForm(t *testing.T, test func(t *testing.T, run form, g *guard.Guard[int], a, b *locker.Locker), opts ...locker.Option) {
	t.Parallel()
	for name, run := range forms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := newPair(t, opts...)
			test(t, run, guard.New[int](a, key), a, b)
		})
	}
}

func TestAFunctionRunsWhileTheLockIsHeldAndNotAfter(t *testing.T) {
	eachForm(t, func(t *testing.T, run form, g *guard.Guard[int], _, b *locker.Locker) {
		var held *locker.Hold
		_, err := run(g, t.Context(), func(_ context.Context, h *locker.Hold) (int, error) {
			held = h
			wantErr(t, h.Err(), nil)
			wantLocked(t, b)
			return 0, nil
		})
		wantErr(t, err, nil)
		wantErr(t, held.Err(), locker.ErrReleased)
		wantErr(t, context.Cause(held.Context()), locker.ErrReleased)
		wantFree(t, b)
	})
}

func TestTheValueAndTheErrorAreTheFunctionsOwn(t *testing.T) {
	eachForm(t, func(t *testing.T, run form, g *guard.Guard[int], _, b *locker.Locker) {
		for _, want := range []error{nil, errMine} {
			v, err := run(g, t.Context(), func(context.Context, *locker.Hold) (int, error) { return 7, want })
			if v != 7 || err != want {
				t.Errorf("got %d, %v; want 7, %v", v, err, want)
			}
			wantFree(t, b)
		}
	})
}

func TestAPanicGoesOnAndTheLockIsReleased(t *testing.T) {
	eachForm(t, func(t *testing.T, run form, g *guard.Guard[int], _, b *locker.Locker) {
		defer func() {
			if p := recover(); p != any(errMine) {
				t.Errorf("panic %v, want %v", p, errMine)
			}
			wantFree(t, b)
		}()
		_, _ = run(g, t.Context(), func(context.Context, *locker.Hold) (int, error) { panic(errMine) })
	})
}

func TestAFunctionThatExitsItsGoroutineReleasesTheLock(t *testing.T) {
	eachForm(t, func(t *testing.T, run form, g *guard.Guard[int], _, b *locker.Locker) {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = run(g, context.Background(), func(context.Context, *locker.Hold) (int, error) {
				runtime.Goexit()
				return 0, nil
			})
			t.Error("Run returned")
		}()
		receive(t, ended)
		wantFree(t, b)
	})
}

func TestACallerThatGivesUpStopsTheFunctionAndTheLockIsReleasedAfterIt(t *testing.T) {
	eachForm(t, func(t *testing.T, run form, g *guard.Guard[int], _, b *locker.Locker) {
		ctx, cancel := context.WithCancelCause(t.Context())
		v, err := run(g, ctx, func(ctx context.Context, h *locker.Hold) (int, error) {
			cancel(errMine)
			receive(t, ctx.Done())
			wantErr(t, context.Cause(ctx), errMine)
			wantErr(t, h.Err(), nil) // as long as the function runs
			wantErr(t, h.Context().Err(), nil)
			wantLocked(t, b)
			return 7, nil
		})
		if v != 7 || err != nil {
			t.Errorf("got %d, %v; want 7 and no error", v, err)
		}
		wantFree(t, b)
	})
}

func TestALostLockTellsTheFunctionAndTheCaller(t *testing.T) {
	eachForm(t, func(t *testing.T, run form, g *guard.Guard[int], _, b *locker.Locker) {
		for _, own := range []error{nil, errMine} {
			v, err := run(g, t.Context(), func(ctx context.Context, h *locker.Hold) (int, error) {
				if done, err := b.Evict(t.Context(), key); !done || err != nil {
					t.Errorf("Evict: %v, %v", done, err)
				}
				receive(t, ctx.Done())
				wantErr(t, context.Cause(ctx), locker.ErrLost)
				wantErr(t, h.Err(), locker.ErrLost)
				return 7, own
			})
			wantErr(t, err, locker.ErrLost)
			if own != nil {
				wantErr(t, err, own)
			}
			var lost *locker.LostError
			if !errors.As(err, &lost) || lost.Reason != locker.ReasonEvicted {
				t.Errorf("got error %v, want it to say evicted", err)
			}
			if v != 7 {
				t.Errorf("got %d, want the function's value", v)
			}
			wantFree(t, b)
		}
	})
}

func TestAHoldThatLastsTooLongTellsTheFunctionAndTheCaller(t *testing.T) {
	eachForm(t, func(t *testing.T, run form, g *guard.Guard[int], _, b *locker.Locker) {
		v, err := run(g, t.Context(), func(ctx context.Context, _ *locker.Hold) (int, error) {
			receive(t, ctx.Done())
			wantErr(t, context.Cause(ctx), locker.ErrMaxHeld)
			return 7, errMine
		})
		wantErr(t, err, locker.ErrMaxHeld, errMine)
		if v != 7 {
			t.Errorf("got %d, want the function's value", v)
		}
		wantFree(t, b)
	}, locker.WithMaxHeldTime(500*time.Millisecond), locker.WithMonitorTicks(time.Millisecond))
}

func TestALockerThatClosesTellsTheFunctionAndTheCaller(t *testing.T) {
	eachForm(t, func(t *testing.T, run form, g *guard.Guard[int], a, b *locker.Locker) {
		v, err := run(g, t.Context(), func(ctx context.Context, _ *locker.Hold) (int, error) {
			wantErr(t, a.Close(), nil)
			receive(t, ctx.Done())
			wantErr(t, context.Cause(ctx), locker.ErrClosed)
			return 7, errMine
		})
		wantErr(t, err, locker.ErrClosed, errMine)
		if v != 7 {
			t.Errorf("got %d, want the function's value", v)
		}
		wantFree(t, b)
		_, err = run(g, t.Context(), never(t))
		wantErr(t, err, locker.ErrClosed)
	})
}

func TestRunWaitsForItsTurn(t *testing.T) {
	t.Parallel()
	blocked := make(chan locker.BlockedData, 10)
	a, b := newPair(t, locker.WithHook(&blockedHook{c: blocked}))
	release := occupy(t, b)
	ran := make(chan int, 1)
	go func() {
		v, err := guard.New[int](a, key).Run(context.Background(), func(context.Context, *locker.Hold) (int, error) { return 7, nil })
		if err != nil {
			t.Error(err)
		}
		ran <- v
	}()
	receive(t, blocked)
	release()
	if v := receive(t, ran); v != 7 {
		t.Errorf("got %d", v)
	}
}

type blockedHook struct {
	locker.NopHook
	c chan<- locker.BlockedData
}

func (h *blockedHook) Blocked(_ context.Context, d locker.BlockedData) { h.c <- d }

func TestTheContextBoundsTheWaitOfRun(t *testing.T) {
	t.Parallel()
	blocked := make(chan locker.BlockedData, 10)
	a, b := newPair(t, locker.WithHook(&blockedHook{c: blocked}))
	release := occupy(t, b)
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() {
		_, err := guard.New[int](a, key).Run(ctx, never(t))
		result <- err
	}()
	receive(t, blocked)
	cancel()
	wantErr(t, receive(t, result), context.Canceled)
	release()
	wantFree(t, b)
}

func TestTryRunOfALockThatIsHeldFailsWithoutACall(t *testing.T) {
	t.Parallel()
	a, b := newPair(t)
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	for _, holder := range []*locker.Locker{a, b} {
		release := occupy(t, holder)
		v, err := guard.New[int](a, key).TryRun(ctx, never(t))
		wantErr(t, err, locker.ErrLocked)
		if v != 0 {
			t.Errorf("got %d", v)
		}
		release()
	}
}

func TestABadGuardFailsOnEveryCall(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t)
	var bad locker.Locker
	rows := []struct {
		name string
		g    *guard.Guard[int]
		fn   guard.Func[int]
		want error
	}{
		{"nil Locker", guard.New[int](nil, key), never(t), locker.ErrInvalidOption},
		{"zero Locker", guard.New[int](&bad, key), never(t), locker.ErrInvalidOption},
		{"zero key", guard.New[int](a, keyspace.Key{}), never(t), keyspace.ErrInvalid},
		{"nil function", guard.New[int](a, key), nil, locker.ErrInvalidOption},
		{"nil option", guard.New(a, key, nil, guard.Acquiring[int]()), never(t), locker.ErrInvalidOption},
		{"nil acquire option", guard.New(a, key, guard.Acquiring[int](nil)), never(t), locker.ErrInvalidOption},
		{"bad TTL", guard.New(a, key, guard.Acquiring[int](locker.TTL(0))), never(t), locker.ErrInvalidTTL},
		{"negative maximum", guard.New(a, key, guard.Acquiring[int](locker.MaxHeld(-1))), never(t), locker.ErrInvalidOption},
		{"nil Locker and nil option", guard.New[int](nil, key, nil), nil, locker.ErrInvalidOption},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			for form, run := range forms {
				v, err := run(r.g, t.Context(), r.fn)
				wantErr(t, err, r.want)
				var e *locker.Error
				if !errors.As(err, &e) || e.Key != r.g.Key().String() {
					t.Errorf("%s: got %#v, want an Error of key %q", form, err, r.g.Key())
				}
				if v != 0 {
					t.Errorf("%s: got %d", form, v)
				}
			}
		})
	}
	if g := guard.New[int](a, key); g.Key() != key {
		t.Errorf("Key is %v, want %v", g.Key(), key)
	}
}
