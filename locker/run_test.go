package locker_test

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
)

func TestRunInLockReleasesHoweverTheFunctionEnds(t *testing.T) {
	t.Parallel()
	mine := errors.New("mine")
	ends := map[string]func() error{
		"returns":          func() error { return nil },
		"returns an error": func() error { return mine },
		"panics":           func() error { panic(mine) },
		"exits":            func() error { runtime.Goexit(); return nil },
	}
	for end, f := range ends {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			a, _, client, prefix := newPair(t)
			var got error
			var panicked any
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				panicked = locktest.PanicOf(func() {
					got = a.RunInLock(context.Background(), key, func(context.Context, *locker.Hold) error { return f() })
				})
			}()
			locktest.Receive(t, ended)
			if end == "returns an error" && !errors.Is(got, mine) || end != "returns an error" && got != nil {
				t.Errorf("error %v", got)
			}
			if (panicked != nil) != (end == "panics") || panicked != nil && panicked != any(mine) {
				t.Errorf("panic %v", panicked)
			}
			released(t, func() bool { return len(keys(t, client, prefix)) == 0 })
			if left := keys(t, client, prefix); len(left) != 0 {
				t.Errorf("left %q", left)
			}
			locktest.Acquire(t, a, key)
		})
	}
}
