// Bank moves money between accounts that are kept in etcd. Several processes
// do so at once, and they are killed and paused all the time. Meanwhile
// somebody counts the money.
//
//	go run ./examples/bank             # for 10 seconds
//	go run ./examples/bank -for 1m
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if runBranch() {
		return
	}
	var c config
	flag.DurationVar(&c.time, "for", 10*time.Second, "how long")
	flag.IntVar(&c.branches, "branches", 8, "processes")
	flag.IntVar(&c.tellers, "tellers", 4, "goroutines in each of them, each with a transfer at a time")
	flag.IntVar(&c.accounts, "accounts", 100, "2 to 128: etcd reads no more in one transaction")
	flag.DurationVar(&c.calm, "calm", 10*time.Second, "how long a branch is left in peace, on average")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	if err := run(ctx, c, os.Stdout); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "bank:", err)
		os.Exit(1)
	}
}
