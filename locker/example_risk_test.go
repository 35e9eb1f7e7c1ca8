package locker_test

import (
	"context"
	"fmt"
	"time"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// Work in steps: before each one, look whether there is time for it.
func ExampleHold_AtRisk() {
	client := dial()
	defer client.Close()
	l := open(client)
	defer l.Close()

	err := l.RunInLock(context.Background(), keyspace.MustParse("index"), func(ctx context.Context, h *locker.Hold) error {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for pages := 0; pages < 3; {
			select {
			case <-tick.C:
			case <-ctx.Done(): // the lock is lost, or the caller gives up
				return context.Cause(ctx)
			}
			select {
			case <-h.AtRisk(): // begin nothing new; look again at the next tick
				fmt.Println("etcd does not answer; the lock stays held for", h.Remaining())
				continue
			default:
			}
			pages++
		}
		fmt.Println("done")
		return nil
	})
	fmt.Println(err)
	// Output:
	// done
	// <nil>
}
