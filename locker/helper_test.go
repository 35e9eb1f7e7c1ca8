package locker_test

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// wait bounds what a test waits for; a test that passes never waits so long.
const wait = 30 * time.Second

var key = keyspace.MustParse("space/key")

// plain makes Lockers of tests send each transaction alone and hand nothing on,
// unless the test says otherwise.
var plain = flag.String("plain", "", "which Lockers are plain: all, or every other one (mixed)")

var made atomic.Int64

// newLocker returns a Locker that is quiet and closed when the test ends.
func newLocker(tb testing.TB, client *clientv3.Client, opts ...locker.Option) *locker.Locker {
	tb.Helper()
	if n := made.Add(1); *plain == "all" || *plain == "mixed" && n%2 == 0 {
		opts = append([]locker.Option{locker.WithoutBatching(), locker.WithHandoff(0)}, opts...)
	}
	return newBatching(tb, client, opts...)
}

// newBatching is newLocker for a Locker that is never plain.
func newBatching(tb testing.TB, client *clientv3.Client, opts ...locker.Option) *locker.Locker {
	tb.Helper()
	quiet := locker.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil)))
	l, err := locker.New(client, append([]locker.Option{quiet}, opts...)...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := l.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
	return l
}

// newPair returns the Lockers of two processes, and a client beside them.
func newPair(tb testing.TB, opts ...locker.Option) (a, b *locker.Locker, client *clientv3.Client, prefix string) {
	tb.Helper()
	return newPairOn(tb, etcdtest.Start(tb), opts...)
}

// newPairOn is newPair on a server that is given.
func newPairOn(tb testing.TB, s *etcdtest.Server, opts ...locker.Option) (a, b *locker.Locker, client *clientv3.Client, prefix string) {
	tb.Helper()
	prefix = s.Prefix(tb)
	opts = append([]locker.Option{locker.WithPrefix(prefix)}, opts...)
	return newLocker(tb, s.Client(tb), opts...), newLocker(tb, s.Client(tb), opts...), s.Client(tb), prefix
}

func acquire(tb testing.TB, l *locker.Locker, k keyspace.Key, opts ...locker.AcquireOption) *locker.Hold {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	h, err := l.Acquire(ctx, k, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

func release(tb testing.TB, h *locker.Hold) {
	tb.Helper()
	if err := h.Release(context.Background()); err != nil {
		tb.Fatal(err)
	}
}

// async runs f and returns a function that waits for its end and returns its
// result.
func async[T any](tb testing.TB, f func() T) func() T {
	done := make(chan T, 1)
	go func() { done <- f() }()
	return func() T {
		tb.Helper()
		return receive(tb, done)
	}
}

func receive[T any](tb testing.TB, c <-chan T) T {
	tb.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(wait):
		tb.Fatal("waited too long")
		panic("unreachable")
	}
}

// until waits for cond to become true.
func until(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	deadline := time.Now().Add(wait)
	for !cond() {
		if time.Now().After(deadline) {
			tb.Fatalf("waited too long until %s", what)
		}
		time.Sleep(time.Millisecond) // the period of a poll
	}
}

// untilQueued waits until n entries hold or wait for k in etcd.
func untilQueued(tb testing.TB, l *locker.Locker, k keyspace.Key, n int) {
	tb.Helper()
	until(tb, "the queue has its length", func() bool {
		q, err := l.Inspect(context.Background(), k)
		if err != nil {
			tb.Fatal(err)
		}
		return len(q.Holders)+len(q.Waiters) == n
	})
}

// keys returns the names of all keys under prefix.
func keys(tb testing.TB, client *clientv3.Client, prefix string) []string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	var names []string
	for _, dir := range []string{"/" + prefix + "/", "/" + prefix + ":/"} {
		resp, err := client.Get(ctx, dir, clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil {
			tb.Fatal(err)
		}
		for _, kv := range resp.Kvs {
			names = append(names, string(kv.Key))
		}
	}
	return names
}

// wantErr fails the test unless err matches all of want.
func wantErr(tb testing.TB, err error, want ...error) {
	tb.Helper()
	for _, w := range want {
		if !errors.Is(err, w) {
			tb.Fatalf("got error %v, want %v", err, w)
		}
	}
}

// wantLost fails the test unless err is a LostError with the reason.
func wantLost(tb testing.TB, err error, why locker.Reason) {
	tb.Helper()
	var lost *locker.LostError
	if !errors.As(err, &lost) || lost.Reason != why || !errors.Is(err, locker.ErrLost) {
		tb.Fatalf("got error %v, want it lost: %v", err, why)
	}
}
