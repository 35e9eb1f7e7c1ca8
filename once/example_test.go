package once_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/once"
)

var hourly = keyspace.MustParse("reports/hourly")

// Two nodes have the same job on their schedule. The clock of the second one is a
// little slow.
func ExampleDo() {
	a, b, done := locktest.OpenPair()
	defer done()
	ctx := context.Background()

	noon := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	tick := once.At(noon, time.Hour)
	ran, err := once.Do(ctx, a, hourly, tick, func(ctx context.Context, h *locker.Hold) error {
		fmt.Println("a reports for", tick)
		return nil
	})
	fmt.Println(ran, err)

	late := once.At(noon.Add(-2*time.Second), time.Hour)
	ran, err = once.Do(ctx, b, hourly, late, func(ctx context.Context, h *locker.Hold) error {
		fmt.Println("b reports for", late)
		return nil
	})
	fmt.Println(ran, err)
	// Output:
	// a reports for 2026-11-27T12:00:00.000Z
	// true <nil>
	// false <nil>
}

// A tick is refused when a later one was run.
func ExampleDo_oldTick() {
	a, b, done := locktest.OpenPair()
	defer done()
	ctx := context.Background()
	report := func(ctx context.Context, h *locker.Hold) error { return nil }

	fmt.Println(once.Do(ctx, a, hourly, "2026-11-27", report)) // any strings that sort
	ran, err := once.Do(ctx, b, hourly, "2026-11-26", report)
	fmt.Println(ran, errors.Is(err, once.ErrOldTick))
	// Output:
	// true <nil>
	// false true
}

func ExampleAt() {
	every := 5 * time.Minute
	for _, clock := range []string{"11:57:29", "11:57:30", "12:00:00", "12:02:29", "12:02:30"} {
		t, _ := time.Parse(time.DateTime, "2026-11-27 "+clock)
		fmt.Println(clock, once.At(t, every))
	}
	// Output:
	// 11:57:29 2026-11-27T11:55:00.000Z
	// 11:57:30 2026-11-27T12:00:00.000Z
	// 12:00:00 2026-11-27T12:00:00.000Z
	// 12:02:29 2026-11-27T12:00:00.000Z
	// 12:02:30 2026-11-27T12:05:00.000Z
}

// After a failure, the next caller of the tick runs it.
func ExampleRetake() {
	a, b, done := locktest.OpenPair()
	defer done()
	ctx := context.Background()
	report := func(err error) func(context.Context, *locker.Hold) error {
		return func(context.Context, *locker.Hold) error { return err }
	}

	fmt.Println(once.Do(ctx, a, hourly, "12:00", report(errors.New("no paper")), once.Retake())) // the default
	fmt.Println(once.Do(ctx, b, hourly, "12:00", report(nil)))
	// Output:
	// true no paper
	// true <nil>
}

// After a failure, the tick is over.
func ExampleSkip() {
	a, b, done := locktest.OpenPair()
	defer done()
	ctx := context.Background()
	charge := func(err error) func(context.Context, *locker.Hold) error {
		return func(context.Context, *locker.Hold) error { return err }
	}

	fmt.Println(once.Do(ctx, a, hourly, "12:00", charge(errors.New("no answer from the bank")), once.Skip()))
	fmt.Println(once.Do(ctx, b, hourly, "12:00", charge(nil), once.Skip()))
	// Output:
	// true no answer from the bank
	// false <nil>
}

func ExampleNoWait() {
	a, b, done := locktest.OpenPair()
	defer done()
	ctx := context.Background()

	once.Do(ctx, a, hourly, "12:00", func(ctx context.Context, h *locker.Hold) error {
		ran, err := once.Do(ctx, b, hourly, "12:00", func(context.Context, *locker.Hold) error { return nil }, once.NoWait())
		fmt.Println(ran, errors.Is(err, locker.ErrLocked))
		return nil
	})
	// Output: false true
}

func ExampleAcquiring() {
	a, _, done := locktest.OpenPair()
	defer done()

	fmt.Println(once.Do(context.Background(), a, hourly, "12:00", func(ctx context.Context, h *locker.Hold) error {
		return nil
	}, once.Acquiring(locker.TTL(5*time.Second), locker.MaxHeld(10*time.Minute))))
	// Output: true <nil>
}

// A tick is to be run again.
func ExampleForget() {
	a, b, done := locktest.OpenPair()
	defer done()
	ctx := context.Background()
	report := func(ctx context.Context, h *locker.Hold) error { return nil }

	fmt.Println(once.Do(ctx, a, hourly, "12:00", report))
	fmt.Println(once.Forget(ctx, a, hourly))
	fmt.Println(once.Do(ctx, b, hourly, "12:00", report))
	// Output:
	// true <nil>
	// <nil>
	// true <nil>
}
