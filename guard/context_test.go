package guard_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

type ctxKey struct{}

func TestTheValuesOfTheCallersContextReachTheFunctionAndTheHold(t *testing.T) {
	eachForm(t, func(t *testing.T, run form, g *guard.Guard[int], _, _ *locker.Locker) {
		_, err := run(g, context.WithValue(t.Context(), ctxKey{}, 7), func(ctx context.Context, h *locker.Hold) (int, error) {
			for name, c := range map[string]context.Context{"the function's": ctx, "the hold's": h.Context()} {
				if v := c.Value(ctxKey{}); v != 7 {
					t.Errorf("the value in %s context is %v", name, v)
				}
			}
			return 0, nil
		})
		wantErr(t, err, nil)
	})
}

func TestTheDeadlineOfTheCallersContextReachesTheFunctionAndNotTheHold(t *testing.T) {
	eachForm(t, func(t *testing.T, run form, g *guard.Guard[int], _, _ *locker.Locker) {
		deadline := time.Now().Add(time.Hour)
		ctx, cancel := context.WithDeadline(t.Context(), deadline)
		defer cancel()
		_, err := run(g, ctx, func(ctx context.Context, h *locker.Hold) (int, error) {
			if d, ok := ctx.Deadline(); !ok || !d.Equal(deadline) {
				t.Errorf("the function's deadline is %v, %v; want %v", d, ok, deadline)
			}
			if d, ok := h.Context().Deadline(); ok {
				t.Errorf("the hold has a deadline: %v", d)
			}
			return 0, nil
		})
		wantErr(t, err, nil)
	})
}

func TestTheContextsOfAFunctionAreDoneAfterIt(t *testing.T) {
	eachForm(t, func(t *testing.T, run form, g *guard.Guard[int], _, _ *locker.Locker) {
		var inside context.Context
		_, err := run(g, t.Context(), func(ctx context.Context, h *locker.Hold) (int, error) {
			wantErr(t, ctx.Err(), nil)
			inside = ctx
			return 0, nil
		})
		wantErr(t, err, nil)
		receive(t, inside.Done())
		wantErr(t, context.Cause(inside), locker.ErrReleased)
		wantErr(t, t.Context().Err(), nil)
	})
}

func TestAFunctionFindsItsHoldInItsContext(t *testing.T) {
	eachForm(t, func(t *testing.T, run form, g *guard.Guard[int], a, _ *locker.Locker) {
		inner := guard.New[int](a, keyspace.MustParse("inner"))
		_, err := run(g, t.Context(), func(ctx context.Context, h *locker.Hold) (int, error) {
			if found, ok := locker.HoldFrom(ctx); !ok || found != h {
				t.Errorf("HoldFrom gives %p, %v; want %p", found, ok, h)
			}
			return run(inner, ctx, func(ctx context.Context, h2 *locker.Hold) (int, error) {
				if found, ok := locker.HoldFrom(ctx); !ok || found != h2 || h2.Key() != inner.Key() {
					t.Errorf("HoldFrom gives %p, %v; want the innermost, %p", found, ok, h2)
				}
				return 0, nil
			})
		})
		wantErr(t, err, nil)
		if _, ok := locker.HoldFrom(t.Context()); ok {
			t.Error("a context without a hold has one")
		}
	})
}

func TestARunWithinARunOfTheSameLockIsRefused(t *testing.T) {
	t.Parallel()
	a, b := newPair(t)
	g, same := guard.New[int](a, key), guard.New[string](a, key)
	other := guard.New[int](a, keyspace.MustParse("other"))
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	v, err := g.Run(ctx, func(ctx context.Context, h *locker.Hold) (int, error) {
		_, err := same.Run(ctx, func(context.Context, *locker.Hold) (string, error) { return "", nil })
		wantErr(t, err, locker.ErrDeadlock)
		_, err = other.Run(ctx, func(ctx context.Context, _ *locker.Hold) (int, error) { return g.Run(ctx, never(t)) })
		wantErr(t, err, locker.ErrDeadlock)
		_, err = g.TryRun(ctx, never(t))
		wantErr(t, err, locker.ErrLocked)
		wantErr(t, h.Err(), nil)
		return 7, nil
	})
	if v != 7 || err != nil {
		t.Errorf("got %d, %v; want 7 and no error", v, err)
	}
	wantFree(t, b)
}

func TestAcquireOptionsReachTheLock(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t, locker.WithMonitorTicks(time.Millisecond))
	g := guard.New(a, key,
		guard.Acquiring[int](locker.TTL(time.Hour), locker.MaxHeld(time.Hour)),
		guard.Acquiring[int](locker.MaxHeld(500*time.Millisecond))) // adds to those before it
	_, err := g.Run(t.Context(), func(ctx context.Context, h *locker.Hold) (int, error) {
		if left := h.Remaining(); left <= locker.DefaultTTL || left > time.Hour {
			t.Errorf("%v remain of a TTL of 1h", left)
		}
		receive(t, ctx.Done())
		return 0, nil
	})
	wantErr(t, err, locker.ErrMaxHeld)
}

func TestGuardsOfOneKeyExcludeEachOther(t *testing.T) {
	t.Parallel()
	a, b := newPair(t)
	const each = 15
	var n int // guarded by the lock alone: the race detector watches
	var last locker.Token
	var wg sync.WaitGroup
	for i := range 6 {
		l := []*locker.Locker{a, b}[i%2]
		wg.Go(func() {
			for range each {
				// Guards are cheap: each run has one of its own.
				before, err := guard.New[int](l, key).Run(t.Context(), func(_ context.Context, h *locker.Hold) (int, error) {
					if h.Token() <= last {
						return 0, fmt.Errorf("token %d after %d", h.Token(), last)
					}
					last = h.Token()
					n++
					return n - 1, nil
				})
				if err != nil || before < 0 || before >= 6*each {
					t.Errorf("got %d, %v", before, err)
				}
			}
		})
	}
	wg.Wait()
	if n != 6*each {
		t.Errorf("counted %d, want %d", n, 6*each)
	}
}
