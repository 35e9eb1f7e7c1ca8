// Command report runs the benchmarks and writes what they say: results.txt, in the format of go test, and made from that,
// RESULTS.md and charts.
//
//	go run . [flags]                     run in benchmarks/report; takes an hour
//	go run . -passes 1 -scale 0.1        only once, and with a tenth of the keys, waiters and Lockers; some minutes
//	go run . -from ../results.txt        only write RESULTS.md and the charts again
//
// It writes over what is there: -out names another directory.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("report: ")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := report(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		log.Fatal(err)
	}
}

func report(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("report", flag.ContinueOnError)
	var (
		passes    = flags.Int("passes", 5, "how often everything runs, one pass after the other")
		grown     = flags.Int("grown", 2, "in how many of the passes the benchmarks run that grow with -scale: they take minutes")
		benchtime = flags.String("benchtime", "", "of every benchmark, as for go test; its own if empty")
		scale     = flags.Float64("scale", 1, "how large the sizes are of the benchmarks that grow: 1 is a million keys")
		only      = flags.String("run", "", "regular expression: run only the benchmarks that match")
		dir       = flags.String("dir", "..", "where package benchmarks is")
		out       = flags.String("out", "", "where to write; the same directory if empty")
		from      = flags.String("from", "", "take the results from this file, and run nothing")
	)
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "Runs the benchmarks (an hour) and writes results.txt, RESULTS.md and charts over those in -out.")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	if *out == "" {
		*out = *dir
	}
	which, err := regexp.Compile(*only)
	switch {
	case err != nil:
		return err
	case *passes < 1:
		return fmt.Errorf("%d passes", *passes)
	case *grown < 1:
		return fmt.Errorf("%d passes of what grows", *grown)
	case !(*scale > 0):
		return fmt.Errorf("scale %g", *scale)
	case !slices.ContainsFunc(plan, func(s step) bool { return which.MatchString(s.name) }):
		return fmt.Errorf("no benchmark matches %q", *only)
	}
	if *from == "" {
		*from = filepath.Join(*out, "results.txt")
		r := runner{dir: *dir, passes: *passes, grown: *grown, benchtime: *benchtime, scale: *scale, only: which, tell: os.Stderr}
		if err := create(*from, func(w io.Writer) error { return r.run(ctx, w) }); err != nil {
			return err
		}
	}
	return write(*from, *out)
}

// write makes RESULTS.md and the charts in dir from the file of results.
func write(from, dir string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	rs, err := parse(bytes.NewReader(data), from)
	if err != nil {
		return err
	}
	var drawn []picture
	for _, p := range pictures() {
		svg, err := p.draw(rs)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name().file, err)
		}
		if svg == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, p.name().file), svg, 0o644); err != nil {
			return err
		}
		drawn = append(drawn, p)
	}
	return os.WriteFile(filepath.Join(dir, "RESULTS.md"), markdown(rs, drawn), 0o644)
}

// create writes a file that is complete, or not there under its name.
func create(name string, fill func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := fill(f); err != nil {
		return err
	}
	return errors.Join(f.Chmod(0o644), f.Close(), os.Rename(f.Name(), name))
}
