package guard_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// What only releases does not wait for that; what stores a value does.
func TestAGuardReleasesInTheBackgroundWhatStoresNothing(t *testing.T) {
	const way = 100 * time.Millisecond
	mine := errors.New("mine")
	calls := map[string]struct {
		took time.Duration
		call func(ctx context.Context, g *guard.Guard[int]) error
	}{
		"View": {way, func(ctx context.Context, g *guard.Guard[int]) error {
			return g.View(ctx, func(context.Context, int) error { return mine })
		}},
		"Run": {way, func(ctx context.Context, g *guard.Guard[int]) error {
			_, err := g.Run(ctx, func(context.Context, *locker.Hold) (int, error) { return 0, mine })
			return err
		}},
		"TryRun": {way, func(ctx context.Context, g *guard.Guard[int]) error {
			_, err := g.TryRun(ctx, func(context.Context, *locker.Hold) (int, error) { return 0, mine })
			return err
		}},
		"Update that fails": {way, func(ctx context.Context, g *guard.Guard[int]) error {
			_, err := g.Update(ctx, func(context.Context, int) (int, error) { return 0, mine })
			return err
		}},
		"Update": {2 * way, func(ctx context.Context, g *guard.Guard[int]) error {
			_, err := g.Update(ctx, func(_ context.Context, n int) (int, error) { return n + 1, nil })
			return errors.Join(err, mine)
		}},
	}
	for name, c := range calls {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, other := lockertest.NewPair(t, locker.WithReleaseInBackground(nil))
				wantErr(t, counter(l).View(t.Context(), func(context.Context, int) error { return nil }), nil) // grants a lease
				time.Sleep(time.Second)
				lockertest.SetDelay(l, way)
				began := time.Now()
				if err := c.call(t.Context(), counter(l)); !errors.Is(err, mine) {
					t.Error(err)
				}
				if took := time.Since(began); took != c.took {
					t.Errorf("it took %v, want %v", took, c.took)
				}
				wantErr(t, counter(other).View(t.Context(), func(context.Context, int) error { return nil }), nil)
			})
		})
	}
}
