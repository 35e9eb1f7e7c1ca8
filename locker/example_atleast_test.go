package locker_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

func ExampleAtLeast() {
	client := dial()
	defer client.Close()
	l := open(client)
	defer l.Close()
	ctx, key := context.Background(), keyspace.MustParse("reports/minutely")

	// Two nodes start the job of this minute, the second a little late.
	for range 2 {
		h, err := l.TryAcquire(ctx, key, locker.AtLeast(50*time.Second))
		if errors.Is(err, locker.ErrLocked) {
			fmt.Println("it runs elsewhere, or has just run")
			return
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		err = h.Run(func(context.Context, *locker.Hold) error {
			fmt.Println("the report is written") // at once
			return nil
		})
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	// Output:
	// the report is written
	// it runs elsewhere, or has just run
}
