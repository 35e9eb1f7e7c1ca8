package guard_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/guard"
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

// open is locker.New, which package locker shows.
func open(client *clientv3.Client) *locker.Locker {
	l, err := locker.New(client)
	if err != nil {
		panic(err)
	}
	return l
}

type SKU string

type Item struct {
	SKU   SKU
	Stock int
}

// stock has one lock for each item.
var stock = keyspace.MustNew[SKU]("stock")

func ExampleNew() {
	client := dial()
	defer client.Close()
	l := open(client)
	defer l.Close()

	g := guard.New(l, stock.Key("kettle"), guard.Acquiring[Item](locker.TTL(5*time.Second)))
	fmt.Println(g.Key())
	// Output: stock/kettle
}

func ExampleGuard_Run() {
	client := dial()
	defer client.Close()
	l := open(client)
	defer l.Close()

	kettle := Item{"kettle", 8} // in a database, say
	g := guard.New[Item](l, stock.Key("kettle"))
	item, err := g.Run(context.Background(), func(ctx context.Context, h *locker.Hold) (Item, error) {
		// ctx is done when the lock is lost; h.Token() goes with the write.
		if kettle.Stock == 0 {
			return kettle, errors.New("sold out")
		}
		kettle.Stock--
		return kettle, nil
	})
	fmt.Println(item, err)
	// Output: {kettle 7} <nil>
}

func ExampleGuard_TryRun() {
	client := dial()
	defer client.Close()
	ann, bob := open(client), open(client) // two processes
	defer ann.Close()
	defer bob.Close()
	ctx := context.Background()

	count := func(context.Context, *locker.Hold) (int, error) { return 8, nil }
	_, err := guard.New[int](ann, stock.Key("kettle")).Run(ctx, func(ctx context.Context, _ *locker.Hold) (int, error) {
		return guard.New[int](bob, stock.Key("kettle")).TryRun(ctx, count)
	})
	fmt.Println(errors.Is(err, locker.ErrLocked))

	n, err := guard.New[int](bob, stock.Key("kettle")).TryRun(ctx, count)
	fmt.Println(n, err)
	// Output:
	// true
	// 8 <nil>
}
