package elock_test

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock"
	"github.com/phpgao/elock/internal/etcdtest"
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

func ExampleELocker_runFuncInLock() {
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

func ExampleJob() {
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
