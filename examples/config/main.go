// Config keeps a configuration in etcd. Three servers watch it while an
// operator changes it.
//
//	go run ./examples/config
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"sync"
	"syscall"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/phpgao/elock/internal/etcdtest/member"
	"github.com/phpgao/elock/locker"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	if err := run(ctx, os.Stdout); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "config:", err)
		os.Exit(1)
	}
}

// run starts an etcd and the servers, makes the changes, and checks that every
// server sees what was committed. It leaves nothing behind.
func run(ctx context.Context, out io.Writer) error {
	etcd, err := member.Launch(ctx, member.Config{})
	if err != nil {
		return errors.Join(ctx.Err(), err)
	}
	defer etcd.Stop()
	// etcd's client would log every call that is cancelled.
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{etcd.Endpoint()}, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer client.Close()

	print := log.New(out, "", 0) // for several goroutines
	var following sync.WaitGroup
	defer following.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	committed := []Limits{builtIn}
	var servers []*server
	for _, name := range []string{"web-1", "web-2", "web-3"} {
		l, err := locker.New(client, locker.WithOwner(name))
		if err != nil {
			return err
		}
		s := &server{name, l, make(chan Limits, 1+len(changes))}
		following.Go(func() { s.follow(ctx, print) })
		if err := s.expect(ctx, committed...); err != nil {
			return err
		}
		servers = append(servers, s)
	}

	l, err := locker.New(client, locker.WithOwner("operator"))
	if err != nil {
		return err
	}
	defer l.Close()
	for _, c := range changes {
		now, err := c.apply(ctx, l)
		switch {
		case err == nil:
			print.Printf("%s: %v", c.name, now)
			committed = append(committed, now)
		case errors.Is(err, errInvalid):
			print.Printf("%s: refused: %v", c.name, err)
		default:
			return err
		}
	}
	for _, s := range servers {
		if err := s.expect(ctx, committed[1:]...); err != nil {
			return fmt.Errorf("check failed: %w", err)
		}
	}
	print.Printf("check passed: %d servers have seen all %d values, in order", len(servers), len(committed))
	return nil
}
