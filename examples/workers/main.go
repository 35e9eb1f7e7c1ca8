// Workers runs 50 jobs in four processes, of which no more than 8 run at once. Some jobs
// are large, and take three of the 8 slots. One process is killed in the middle of its
// jobs: its slots come back, and other processes run these jobs again.
//
//	go run ./examples/workers
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
	flag.IntVar(&c.jobs, "jobs", 50, "how many jobs there are")
	flag.IntVar(&c.slots, "slots", 8, "how many run at once, in all processes together; 3 or more")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	if err := run(ctx, c, os.Stdout); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "workers:", err)
		os.Exit(1)
	}
}
