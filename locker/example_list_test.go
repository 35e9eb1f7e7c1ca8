package locker_test

import (
	"context"
	"fmt"
	"time"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

func ExampleLocker_List() {
	client := dial()
	defer client.Close()
	ann := open(client, locker.WithOwner("ann")) // in one process
	defer ann.Close()
	ops := open(client, locker.WithOwner("ops")) // in another
	defer ops.Close()
	ctx, wards := context.Background(), keyspace.MustNew[string]("ward")

	for _, name := range []string{"north", "south"} {
		h, err := ann.Acquire(ctx, wards.Key(name))
		if err != nil {
			fmt.Println(err)
			return
		}
		defer h.Release(ctx)
	}
	for q, err := range ops.List(ctx, "ward") {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(q.Key, "is held by", q.Holders[0].Name, "and", len(q.Waiters), "wait")
	}

	// Which locks has somebody held or waited for since an hour ago, while somebody waits?
	for q, err := range ops.List(ctx, "ward", locker.ListContended(), locker.ListAge(time.Hour)) {
		fmt.Println(q.Key, err)
	}
	// Output:
	// ward/north is held by ann and 0 wait
	// ward/south is held by ann and 0 wait
}

func ExampleLocker_Blocking() {
	client := dial()
	defer client.Close()
	ann, bob := open(client, locker.WithOwner("ann")), open(client, locker.WithOwner("bob"))
	defer ann.Close()
	defer bob.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	left, right := keyspace.MustParse("ward/left"), keyspace.MustParse("ward/right")

	// Each holds what the other waits for. AcquireAll does not do so.
	done := make(chan error, 2)
	wait := func(l *locker.Locker, key keyspace.Key) {
		_, err := l.Acquire(ctx, key)
		done <- err
	}
	for l, key := range map[*locker.Locker]keyspace.Key{ann: left, bob: right} {
		if _, err := l.Acquire(ctx, key); err != nil {
			fmt.Println(err)
			return
		}
	}
	go wait(ann, right)
	go wait(bob, left)

	for range 1000 { // until both wait
		chain, err := ann.Blocking(ctx, left)
		if err != nil {
			fmt.Println(err)
			return
		}
		if len(chain.Cycle) == 2 {
			fmt.Println(chain)
			break
		}
	}
	cancel()
	<-done
	<-done
	// Output:
	// "ward/left" held by ann; ann waits for "ward/right" held by bob; bob waits for "ward/left" held by ann; cycle: ann waits for "ward/right" held by bob; bob waits for "ward/left" held by ann
}
