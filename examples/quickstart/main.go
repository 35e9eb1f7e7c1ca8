// Quickstart opens a small shop. Its sellers are processes that share nothing
// but a few files, and an etcd to guard them with. One seller is killed in the
// middle of a sale, another loses its lock, and in the end the books are
// checked.
//
//	go run ./examples/quickstart                             # starts an etcd of its own
//	go run ./examples/quickstart -endpoints 127.0.0.1:2379   # uses this one
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/phpgao/elock/internal/etcdtest/member"
	"github.com/phpgao/elock/locker"
)

func main() {
	endpoints := flag.String("endpoints", "", "etcd to use: host:port, separated by commas (default: one of its own)")
	var s seller // the program starts itself with these
	flag.StringVar(&s.name, "seller", "", "internal: be the seller of this name")
	flag.StringVar(&s.prefix, "prefix", "", "internal: where the locks are")
	flag.StringVar(&s.shop.dir, "dir", "", "internal: where the shop is")
	flag.Parse()

	var err error
	if s.name != "" {
		s.endpoints = *endpoints
		err = s.work()
	} else {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
		err = run(ctx, *endpoints)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// run opens the shop until all is sold or ctx is done, checks the books, and
// leaves nothing behind.
func run(ctx context.Context, endpoints string) error {
	if endpoints == "" {
		etcd, err := member.Launch(ctx, member.Config{})
		if err != nil {
			return errors.Join(ctx.Err(), err)
		}
		defer etcd.Stop()
		endpoints = etcd.Endpoint()
	}
	client, err := connect(endpoints)
	if err != nil {
		return err
	}
	defer client.Close()
	prefix := fmt.Sprintf("quickstart-%08x", rand.Uint32())
	l, err := locker.New(client, locker.WithPrefix(prefix), locker.WithOwner("parent"))
	if err != nil {
		return err
	}
	defer l.Close()
	if err := removeKeys(client, prefix); err != nil { // there are none: this is to reach etcd
		return fmt.Errorf("no etcd at %s: %w", endpoints, err)
	}
	items, err := initialItems()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "elock-quickstart-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	shop := shop{dir}
	for _, item := range items {
		if err := shop.store(item); err != nil {
			return err
		}
	}

	fmt.Printf("etcd at %s, locks under /%s/, TTL %v\n\n", endpoints, prefix, lockTTL)
	p := newParent(l, "-endpoints="+endpoints, "-prefix="+prefix, "-dir="+dir)
	err = p.run(ctx)
	if ctx.Err() != nil {
		fmt.Println("\ninterrupted: all sellers have stopped")
	}
	return errors.Join(err, removeKeys(client, prefix), p.books(shop, items))
}

// connect is quiet: etcd's client would log every call that is cancelled.
func connect(endpoints string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: strings.Split(endpoints, ","), Logger: zap.NewNop()})
}

// removeKeys removes what a killed seller left, if its lease is still alive.
func removeKeys(client *clientv3.Client, prefix string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err := client.Delete(ctx, "/"+prefix+"/", clientv3.WithPrefix())
	return err
}
