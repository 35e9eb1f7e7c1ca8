package lockertest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// From here on the package documentation says the same.

var index = keyspace.MustNew[string]("index")

// Rebuild rebuilds an index, a page a second, and returns how many pages it did.
func Rebuild(ctx context.Context, l *locker.Locker, name string, pages int) (int, error) {
	g := guard.New[int](l, index.Key(name))
	return g.Run(ctx, func(ctx context.Context, _ *locker.Hold) (int, error) {
		for done := range pages {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return done, context.Cause(ctx)
			}
		}
		return pages, nil
	})
}

func TestRebuildStopsWhenItsLockIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lockertest.New(t)
		time.AfterFunc(10*time.Minute, func() { lockertest.Lose(l, index.Key("products")) })
		done, err := Rebuild(t.Context(), l, "products", 3600)
		if !errors.Is(err, locker.ErrLost) {
			t.Errorf("got error %v, want %v", err, locker.ErrLost)
		}
		if done < 599 || done > 601 {
			t.Errorf("did %d pages, want those of 10 minutes", done)
		}
	})
}
