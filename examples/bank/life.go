package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/phpgao/elock/examples/internal/child"
	"github.com/phpgao/elock/internal/etcdtest/process"
)

const (
	maxPause = 2 * lockTTL      // so that about half of the pauses cost the branch its locks
	toClose  = 10 * time.Second // how long a branch may take to end
)

// keep sees to it that there is a branch until ctx is done: when one has been
// killed, the next opens.
func (b *bank) keep(ctx context.Context, name string) error {
	for ctx.Err() == nil {
		if err := b.live(ctx, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// live is the life of one process: it is paused now and then, until it is
// killed or ctx is done.
func (b *bank) live(ctx context.Context, name string) error {
	proc, told, err := b.start(name)
	if err != nil {
		return err
	}
	defer proc.Kill()
	for {
		select {
		case <-ctx.Done():
			proc.Finish()
			select {
			case <-proc.Done():
				return <-told
			case <-time.After(toClose):
				return fmt.Errorf("still running %v after it was told to end", toClose)
			}
		case err := <-told:
			return errors.Join(errors.New("it has ended by itself"), err)
		case <-time.After(rand.N(2 * b.calm)):
		}
		if rand.IntN(2) == 0 {
			proc.Kill()
			b.killed.Add(1)
			return <-told
		}
		if err := proc.Pause(); err != nil {
			proc.Kill()
			return errors.Join(err, <-told) // it may have told why it is gone
		}
		b.paused.Add(1)
		select {
		case <-time.After(rand.N(maxPause)):
		case <-ctx.Done():
		}
		if err := proc.Resume(); err != nil {
			return err
		}
	}
}

// start runs this program again, as a branch. told gives the end of its reports
// and what was wrong with them.
func (b *bank) start(name string) (proc *process.Process, told <-chan error, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	env, err := child.Environ(branch{name, b.endpoint, b.prefix, b.tellers, b.accounts})
	if err != nil {
		return nil, nil, err
	}
	in, out, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer out.Close() // the branch has its own
	proc, err = process.Start(self, nil, env, out)
	if err != nil {
		in.Close()
		return nil, nil, err
	}
	end := make(chan error, 1)
	go func() {
		defer in.Close()
		end <- b.listen(in)
	}()
	return proc, end, nil
}

// listen counts what a branch reports.
func (b *bank) listen(in io.Reader) error {
	lines := json.NewDecoder(in)
	for {
		var r report
		switch err := lines.Decode(&r); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil: // it panicked, say
			said, _ := io.ReadAll(io.MultiReader(lines.Buffered(), in))
			return fmt.Errorf("%w in %q", err, said)
		case r.Outcome == failed:
			return errors.New(r.Err)
		}
		b.tally.add(r)
	}
}
