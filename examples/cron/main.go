// Cron runs a job every second on three nodes: once for each second, and not once
// on each node. Their clocks are wrong, and one node is killed in the middle of the
// job.
//
//	go run ./examples/cron
//	go run ./examples/cron -lock-alone   # what happens without package once
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if runNode() {
		return
	}
	var c config
	flag.IntVar(&c.ticks, "ticks", 8, "how often the job is to run")
	flag.BoolVar(&c.lockAlone, "lock-alone", false, "only lock the job; no node is killed then")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	if err := run(ctx, c, os.Stdout); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "cron:", err)
		os.Exit(1)
	}
}
