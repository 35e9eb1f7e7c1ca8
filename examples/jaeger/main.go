// Jaeger makes contention between three processes on four kinds of locks, and
// shows it in Jaeger: who waited, for whom, and what became of each hold.
//
//	go run . -jaeger                      # builds and starts a Jaeger of its own
//	OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317 go run . -ui http://127.0.0.1:16686
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/phpgao/elock/internal/etcdtest/member"
)

func main() {
	if role := os.Getenv(roleEnv); role != "" {
		exitOn(play(role))
		return
	}
	own := flag.Bool("jaeger", false, "build and start a Jaeger, and stop it at the end")
	ui := flag.String("ui", "http://127.0.0.1:16686", "where the Jaeger that runs already shows its traces")
	endpoints := flag.String("endpoints", "", "etcd to use: host:port, separated by commas (default: one of its own)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	exitOn(run(ctx, *own, *ui, *endpoints))
}

func exitOn(err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "jaeger example:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, own bool, ui, endpoints string) error {
	otlp := os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT")
	switch {
	case own:
		fmt.Println("building Jaeger; the first time takes some minutes")
		j, err := startJaeger(ctx)
		if err != nil {
			return err
		}
		defer j.stop()
		otlp, ui = j.otlp, j.ui
	case otlp == "":
		return errors.New("pass -jaeger, or set OTEL_EXPORTER_OTLP_ENDPOINT to where your Jaeger takes OTLP over gRPC")
	}
	if endpoints == "" {
		etcd, err := member.Launch(ctx, member.Config{})
		if err != nil {
			return err
		}
		defer etcd.Stop()
		endpoints = etcd.Endpoint()
	}
	reports, err := contend(ctx, endpoints, otlp)
	if err != nil {
		return err
	}
	tell(reports, ui)
	if own {
		fmt.Println("\nJaeger runs until Ctrl-C.")
		<-ctx.Done()
	}
	return nil
}

// tell prints the traces worth looking at.
func tell(reports []report, ui string) {
	acquires, blocked := 0, 0
	var all []sight
	for _, r := range reports {
		acquires += r.Acquires
		blocked += r.Blocked
		all = append(all, r.Sights...)
	}
	fmt.Printf("%d processes, %d acquires, of which %d had to wait\n", len(reports), acquires, blocked)
	for _, kind := range []struct{ name, title string }{
		{"hot", "a hot key: who waited longest"},
		{"cold", "a cold key: nobody waits"},
		{"slow", "held too long: the holder, and who waited for it"},
		{"lost", "lost: the loser, and who waited for it"},
	} {
		fmt.Printf("\n%s\n", kind.title)
		sights := slices.DeleteFunc(slices.Clone(all), func(s sight) bool { return s.Kind != kind.name })
		slices.SortFunc(sights, func(a, b sight) int { return cmp.Compare(b.Waited, a.Waited) })
		if kind.name == "hot" || kind.name == "cold" {
			sights = sights[:min(1, len(sights))]
		}
		for _, s := range sights {
			fmt.Printf("  %-8s %-19s waited %-7v %s/trace/%s\n", s.Process, s.Title, s.Waited.Round(time.Millisecond), ui, s.Trace)
		}
	}
}
