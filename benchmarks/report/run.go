package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// A runner runs the plan.
type runner struct {
	dir       string
	passes    int
	grown     int     // passes of what grows
	benchtime string  // "" for that of each step
	scale     float64 // of what grows
	only      *regexp.Regexp
	tell      io.Writer // what it is doing
}

// run writes the results to w. Passes follow each other, so that a time when the machine is slow spoils a little of
// everything, and the medians of nothing.
func (r runner) run(ctx context.Context, w io.Writer) error {
	steps := slices.DeleteFunc(slices.Clone(plan), func(s step) bool { return !r.only.MatchString(s.name) })
	tmp, err := os.MkdirTemp("", "elock-report-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	for _, s := range steps {
		if _, err := os.Stat(binary(tmp, s)); err == nil {
			continue
		}
		cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary(tmp, s), ".")
		cmd.Dir, cmd.Stderr = filepath.Join(r.dir, s.dir), r.tell
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("build the benchmarks in %s: %w", s.dir, err)
		}
	}
	if _, err := w.Write(machine(ctx, r.dir)); err != nil {
		return err
	}
	if r.benchtime != "" {
		fmt.Fprintln(w, "benchtime:", r.benchtime)
	}
	if r.scale != 1 {
		fmt.Fprintln(w, "scale:", r.scale)
	}
	for pass := range r.passes {
		fmt.Fprintf(w, "\npass: %d\n", pass+1)
		for _, s := range steps {
			if s.grows && pass >= r.grown {
				continue
			}
			began := time.Now()
			if err := r.step(ctx, w, binary(tmp, s), s); err != nil {
				return err
			}
			fmt.Fprintf(r.tell, "pass %d of %d: %s took %v\n", pass+1, r.passes, s.name, time.Since(began).Round(time.Second))
		}
	}
	return nil
}

func (r runner) step(ctx context.Context, w io.Writer, exe string, s step) error {
	cmd := exec.CommandContext(ctx, exe, "-test.run=^$", "-test.bench=^Benchmark"+s.name+"$", "-test.benchtime="+cmp.Or(r.benchtime, s.benchtime),
		"-test.timeout=30m", fmt.Sprintf("-scale=%g", r.scale))
	cmd.Dir = filepath.Join(r.dir, s.dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, r.tell // what is logged would come in the middle of a result
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", s.name, err, &out)
	}
	_, err := w.Write(out.Bytes())
	return err
}

func binary(tmp string, s step) string { return filepath.Join(tmp, filepath.Base(s.dir)+".test") }
