package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/phpgao/elock/examples/internal/child"
	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/locker"
)

const (
	lockTTL = 2 * time.Second // how long a killed branch blocks its accounts
	// patience is how long a transfer may take. The accounts of killed and
	// paused branches are free after lockTTL, so this must be a deadlock.
	patience = 20 * time.Second
)

// A branch is a process that makes transfers.
type branch struct {
	Name     string
	Endpoint string // of etcd
	Prefix   string // of the locks
	Tellers  int
	Accounts int
}

// A report is what a branch tells of each transfer: a line of JSON.
type report struct {
	Outcome outcome
	Took    time.Duration
	Err     string `json:",omitempty"` // if it failed
}

type outcome string

const (
	done    outcome = "done"
	refused outcome = "refused" // by the function: not enough money
	fenced  outcome = "fenced"  // the lock was lost before the commit
	lost    outcome = "lost"    // the lock was lost before the function ran
	unknown outcome = "unknown" // etcd did not say whether it was committed
	failed  outcome = "failed"  // for any other reason, which should not be
)

// runBranch is a branch's main, and reports whether this process is one.
func runBranch() bool {
	return child.Main((*branch).work, func(_ *branch, err error) { child.Tell(report{Outcome: failed, Err: err.Error()}) })
}

// work goes on until standard input ends: the parent says so, or is dead.
func (b *branch) work() (err error) {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{b.Endpoint}, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer client.Close()
	l, err := locker.New(client,
		locker.WithPrefix(b.Prefix),
		locker.WithOwner(b.Name),
		locker.WithTTL(lockTTL),
		locker.WithLogger(slog.New(slog.DiscardHandler))) // we tell of lost locks ourselves
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()

	ctx, stop := context.WithCancel(context.Background())
	go func() {
		defer stop()
		io.Copy(io.Discard, os.Stdin)
	}()
	var tellers sync.WaitGroup
	for range b.Tellers {
		tellers.Go(func() {
			for ctx.Err() == nil {
				b.serve(ctx, l)
			}
		})
	}
	tellers.Wait()
	return nil
}

// serve makes one transfer between two accounts, and tells how it went.
func (b *branch) serve(ctx context.Context, l *locker.Locker) {
	from := rand.IntN(b.Accounts)
	to := (from + 1 + rand.IntN(b.Accounts-1)) % b.Accounts // another one
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := transfer(limited, l, AccountID(from), AccountID(to), 1+rand.IntN(deposit))
	r := report{Took: time.Since(began)}
	switch {
	case err == nil:
		r.Outcome = done
	case errors.Is(err, errOverdraft):
		r.Outcome = refused
	case errors.Is(err, locker.ErrOutcomeUnknown):
		r.Outcome = unknown
	case errors.Is(err, guard.ErrFenced):
		r.Outcome = fenced
	case errors.Is(err, locker.ErrLost):
		r.Outcome = lost
	case ctx.Err() != nil:
		return // the bank closes, and nothing was moved
	default:
		r.Outcome = failed
		r.Err = fmt.Sprintf("after %v: %v", r.Took.Round(time.Millisecond), err)
	}
	child.Tell(r)
}
