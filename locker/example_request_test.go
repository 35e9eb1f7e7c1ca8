package locker_test

import (
	"context"
	"fmt"
	"time"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

func ExampleLocker_RequestRelease() {
	client := dial()
	defer client.Close()
	ann, ops := open(client, locker.WithOwner("ann")), open(client, locker.WithOwner("ops"))
	defer ann.Close()
	defer ops.Close()
	ctx, key := context.Background(), keyspace.MustParse("import")

	h, err := ann.Acquire(ctx, key)
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() { // the holder gives way between two steps of its work
		defer h.Release(ctx)
		select {
		case <-h.Requested():
			fmt.Printf("%s asks: %s\n", h.RequestedBy(), h.RequestReason())
		case <-h.Context().Done():
		}
	}()

	held, err := ops.RequestRelease(ctx, key, "the table is to be dropped")
	if err != nil || !held {
		fmt.Println(held, err)
		return
	}
	patience, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	mine, err := ops.Acquire(patience, key) // if it does not give way: ops.Evict(ctx, key)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("ops holds it", mine.Release(ctx) == nil)
	// Output:
	// ops asks: the table is to be dropped
	// ops holds it true
}

func ExampleHold_Requested() {
	client := dial()
	defer client.Close()
	l := open(client)
	defer l.Close()
	ctx, key := context.Background(), keyspace.MustParse("import")

	err := l.RunInLock(ctx, key, func(ctx context.Context, h *locker.Hold) error {
		if _, err := l.RequestRelease(ctx, key, "rolling deploy"); err != nil { // somebody, elsewhere
			return err
		}
		for step := 1; ; step++ {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-h.Requested():
				fmt.Println("given up for:", h.RequestReason())
				return nil
			case <-time.After(10 * time.Millisecond): // a step of the work
			}
		}
	})
	fmt.Println(err)
	// Output:
	// given up for: rolling deploy
	// <nil>
}
