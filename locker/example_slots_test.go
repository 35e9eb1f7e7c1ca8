package locker_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

func ExampleSlots() {
	client := dial()
	defer client.Close()
	l := open(client)
	defer l.Close()
	ctx, key := context.Background(), keyspace.MustParse("downloads")

	// Of 20 jobs, here or in other processes, no more than 3 run at once.
	var jobs sync.WaitGroup
	for range 20 {
		jobs.Go(func() {
			err := l.RunInLock(ctx, key, func(ctx context.Context, h *locker.Hold) error {
				queue, err := l.Inspect(ctx, key)
				if len(queue.Holders) > 3 {
					fmt.Println("too many:", queue)
				}
				return err
			}, locker.Slots(3))
			if err != nil {
				fmt.Println(err)
			}
		})
	}
	jobs.Wait()
	fmt.Println("done")
	// Output: done
}

func ExampleWeight() {
	client := dial()
	defer client.Close()
	l := open(client, locker.WithOwner("trainer"))
	defer l.Close()
	ctx, key := context.Background(), keyspace.MustParse("gpu")

	h, err := l.Acquire(ctx, key, locker.Slots(8), locker.Weight(6))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer h.Release(ctx)
	_, err = l.TryAcquire(ctx, key, locker.Slots(8), locker.Weight(3))
	fmt.Println(err != nil)
	queue, err := l.Inspect(ctx, key)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, o := range queue.Holders {
		fmt.Printf("%s has %d of %d slots\n", o.Name, o.Weight, o.Slots)
	}
	// Output:
	// true
	// trainer has 6 of 8 slots
}

func ExampleHold_Slots() {
	client := dial()
	defer client.Close()
	l := open(client)
	defer l.Close()
	ctx, key := context.Background(), keyspace.MustParse("uploads")

	h, err := l.Acquire(ctx, key, locker.Slots(4))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer h.Release(ctx)
	if h.Slots() > 0 {
		fmt.Println("others may hold it, too")
	}
	// Output: others may hold it, too
}
