package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A tally counts what the branches report.
type tally struct {
	mu      sync.Mutex
	counts  map[outcome]int
	longest time.Duration
}

func (t *tally) add(r report) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = make(map[outcome]int)
	}
	t.counts[r.Outcome]++
	t.longest = max(t.longest, r.Took)
}

func (t *tally) of(o outcome) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts[o]
}

// progress prints a line a second until ctx is done.
func (b *bank) progress(ctx context.Context) error {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	fmt.Fprintln(b.out, "time  transfers/s  killed  paused  fenced  lost  unknown  snapshots")
	before := 0
	for i := 1; ; i++ {
		select {
		case <-second.C:
		case <-ctx.Done():
			return nil
		}
		n := int(b.transfers.Load())
		fmt.Fprintf(b.out, "%3ds  %11d  %6d  %6d  %6d  %4d  %7d  %9d\n", i, n-before, b.killed.Load(), b.paused.Load(),
			b.tally.of(fenced), b.tally.of(lost), b.tally.of(unknown), b.snapshots.Load())
		before = n
	}
}

// close checks the books when all branches have ended, and prints the sums.
func (b *bank) close(took time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	last, err := look(ctx, b.client, b.prefix, b.accounts)
	if err == nil {
		err = last.check()
	}
	if err != nil {
		return fmt.Errorf("check failed: %w", err)
	}
	n, told, open := last.transfers(), b.tally.of(done), b.tally.of(unknown)
	fmt.Fprintf(b.out, "\n%d transfers in %v: %.0f/s, the longest took %v; %d refused for lack of money\n",
		n, took.Round(100*time.Millisecond), float64(n)/took.Seconds(), b.tally.longest.Round(time.Millisecond), b.tally.of(refused))
	fmt.Fprintf(b.out, "%d branches killed, %d paused; transfers fenced off %d, lost %d, unknown %d\n",
		b.killed.Load(), b.paused.Load(), b.tally.of(fenced), b.tally.of(lost), open)
	fmt.Fprintf(b.out, "%d done as reported, %d found in the accounts\n", told, n)
	// A teller who is killed may have made a transfer that it did not report.
	if most := told + open + int(b.killed.Load())*b.tellers; n < told || n > most {
		return fmt.Errorf("check failed: the accounts should have between %d and %d transfers", told, most)
	}
	fmt.Fprintf(b.out, "check passed: the total was %d in each of %d snapshots\n", deposit*b.accounts, b.snapshots.Load())
	return nil
}
