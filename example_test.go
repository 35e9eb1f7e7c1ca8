package elock_test

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock"
	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// dial returns a client of the etcd that the tests use. A program calls
// clientv3.New.
func dial() *clientv3.Client {
	client, err := etcdtest.Dial()
	if err != nil {
		panic(err)
	}
	return client
}

func ExampleNewELocker() {
	client := dial()
	defer client.Close()

	l := elock.NewELocker(client,
		elock.WithPrefix("shop"),
		elock.WithSuccessCallback(func(key string) { fmt.Println("locked", key) }))
	defer l.Close() // the client stays open
	ctx := context.Background()

	if err := l.Lock(ctx, "my-key", 10); err != nil {
		fmt.Println(err)
		return
	}
	// It does not wait for a lock that is held.
	fmt.Println(errors.Is(l.Lock(ctx, "my-key", 10), locker.ErrLocked))
	fmt.Println(l.Unlock(ctx, "my-key"))
	// Output:
	// locked my-key
	// true
	// <nil>
}

func ExampleELocker_Lock() {
	client := dial()
	defer client.Close()
	l := elock.NewELocker(client)
	defer l.Close()
	ctx := context.Background()

	fmt.Println(l.Lock(ctx, "my-key", 10)) // seconds
	fmt.Println(errors.Is(l.Lock(ctx, "my-key", 10), locker.ErrLocked))
	fmt.Println(l.Unlock(ctx, "my-key"))
	fmt.Println(l.Unlock(ctx, "my-key"))
	// Output:
	// <nil>
	// true
	// <nil>
	// elock: unlock "my-key": locker: lock is not held
}

func ExampleELocker_Locker() {
	client := dial()
	defer client.Close()
	e := elock.NewELocker(client)
	defer e.Close()

	// What the classic calls do not offer: a wait, a context, a token.
	key := keyspace.MustParse("nightly-report")
	err := e.Locker().RunInLock(context.Background(), key, func(ctx context.Context, h *locker.Hold) error {
		fmt.Println("holding", h.Key(), h.Token() > 0, ctx.Err())
		return nil
	})
	fmt.Println(err)
	// Output:
	// holding nightly-report true <nil>
	// <nil>
}

func ExampleELocker_RunFuncInLock() {
	client := dial()
	defer client.Close()
	l := elock.NewELocker(client)
	defer l.Close()

	ran, err := l.RunFuncInLock(context.Background(), "nightly-report", 10, func() {
		fmt.Println("writing the report")
	})
	fmt.Println(ran > 0, err)
	// Output:
	// writing the report
	// true <nil>
}

type report struct{ name string }

func (r report) Run() { fmt.Println("writing", r.name) }

func ExampleELocker_RunJobInLock() {
	client := dial()
	defer client.Close()
	l := elock.NewELocker(client)
	defer l.Close()

	_, err := l.RunJobInLock(context.Background(), "nightly-report", 10, report{"sales.pdf"})
	fmt.Println(err)
	// Output:
	// writing sales.pdf
	// <nil>
}
