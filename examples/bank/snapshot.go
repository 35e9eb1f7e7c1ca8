package main

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A snapshot is what all accounts were at one revision of etcd.
type snapshot []Account

// look reads n accounts in one transaction. It needs no lock: a transfer is one
// transaction too, so it is seen as a whole or not at all.
func look(ctx context.Context, client *clientv3.Client, prefix string, n int) (snapshot, error) {
	gets := make([]clientv3.Op, n)
	for id := range gets {
		gets[id] = clientv3.OpGet(accounts.Key(AccountID(id)).ValuePath(prefix))
	}
	resp, err := client.Txn(ctx).Then(gets...).Commit()
	if err != nil {
		return nil, err
	}
	s := make(snapshot, n)
	for id, r := range resp.Responses {
		kvs := r.GetResponseRange().Kvs
		if len(kvs) == 0 {
			return nil, fmt.Errorf("account %d is gone", id)
		}
		if s[id], err = codec.Unmarshal(kvs[0].Value); err != nil {
			return nil, fmt.Errorf("account %d: %w", id, err)
		}
	}
	return s, nil
}

// check returns what is wrong with the balances.
func (s snapshot) check() error {
	total := 0
	for id, a := range s {
		if a.Balance < 0 {
			return fmt.Errorf("account %d is overdrawn: %d", id, a.Balance)
		}
		total += a.Balance
	}
	if want := deposit * len(s); total != want {
		return fmt.Errorf("the total is %d, and was %d at first", total, want)
	}
	return nil
}

// transfers is how many have been committed. Each is in two accounts.
func (s snapshot) transfers() int {
	n := 0
	for _, a := range s {
		n += a.Transfers
	}
	return n / 2
}

const (
	// snapshotPause leaves etcd some time for the transfers.
	snapshotPause = 10 * time.Millisecond
	// standstill is how long no branch at all may make a transfer.
	standstill = 15 * time.Second
)

// audit takes and checks snapshots until ctx is done.
func (b *bank) audit(ctx context.Context) error {
	moved := time.Now()
	for {
		s, err := look(ctx, b.client, b.prefix, b.accounts)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			err = s.check()
		}
		if err != nil {
			return fmt.Errorf("snapshot: %w", err)
		}
		b.snapshots.Add(1)
		if n := s.transfers(); n != int(b.transfers.Swap(int64(n))) {
			moved = time.Now()
		}
		if since := time.Since(moved); since > standstill {
			return fmt.Errorf("no transfer for %v: a deadlock", since.Round(time.Second))
		}
		select {
		case <-time.After(snapshotPause):
		case <-ctx.Done():
			return nil
		}
	}
}
