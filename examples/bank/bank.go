package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/phpgao/elock/internal/etcdtest/member"
	"github.com/phpgao/elock/locker"
)

type config struct {
	time     time.Duration
	branches int
	tellers  int // of each branch
	accounts int
	calm     time.Duration // between two accidents of a branch, on average
}

// A bank is the parent of all branches.
type bank struct {
	config
	client   *clientv3.Client
	endpoint string
	prefix   string
	out      io.Writer

	tally          tally
	killed, paused atomic.Int64
	transfers      atomic.Int64 // committed, as of the last snapshot
	snapshots      atomic.Int64
}

// run opens the bank until its time is over or ctx is done, and checks the
// books. It leaves nothing behind.
func run(ctx context.Context, c config, out io.Writer) error {
	if c.branches < 1 || c.tellers < 1 || c.accounts < 2 || c.accounts > 128 || c.calm <= 0 {
		return errors.New("bad flags: see -help")
	}
	etcd, err := member.Launch(ctx, member.Config{})
	if err != nil {
		return errors.Join(ctx.Err(), err)
	}
	defer etcd.Stop()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{etcd.Endpoint()}, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer client.Close()
	b := &bank{config: c, client: client, endpoint: etcd.Endpoint(), prefix: "bank", out: out}
	if err := b.open(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d accounts of %d each; %d branches with %d tellers each; etcd at %s\n\n",
		c.accounts, deposit, c.branches, c.tellers, b.endpoint)
	began := time.Now()
	if err := b.work(ctx); err != nil {
		return err
	}
	return b.close(time.Since(began))
}

func (b *bank) open(ctx context.Context) error {
	l, err := locker.New(b.client, locker.WithPrefix(b.prefix), locker.WithOwner("parent"))
	if err != nil {
		return err
	}
	return errors.Join(openAccounts(ctx, l, b.accounts), l.Close())
}

// work lets the branches work and takes snapshots, until the time is over, ctx
// is done, or something goes wrong.
func (b *bank) work(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, b.time)
	defer cancel()
	all, ctx := errgroup.WithContext(ctx)
	for i := range b.branches {
		all.Go(func() error { return b.keep(ctx, fmt.Sprintf("branch %d", i)) })
	}
	all.Go(func() error { return b.audit(ctx) })
	all.Go(func() error { return b.progress(ctx) })
	return all.Wait()
}
