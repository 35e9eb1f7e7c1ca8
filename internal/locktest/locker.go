package locktest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// Key is the lock of most tests.
var Key = keyspace.MustParse("space/key")

// New returns a Locker that is quiet and closed when the test ends.
func New(tb testing.TB, client *clientv3.Client, opts ...locker.Option) *locker.Locker {
	tb.Helper()
	l, err := locker.New(client, append([]locker.Option{locker.WithLogger(slog.New(slog.DiscardHandler))}, opts...)...)
	if err != nil {
		tb.Fatal(err)
	}
	return Closing(tb, l)
}

// Closing closes l when the test ends.
func Closing[L interface{ Close() error }](tb testing.TB, l L) L {
	tb.Cleanup(func() {
		if err := l.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
	return l
}

// Impatient makes the monitor end every hold almost at once.
func Impatient() []locker.Option {
	return []locker.Option{locker.WithMaxHeldTime(time.Millisecond), locker.WithMonitorTicks(5 * time.Millisecond)}
}

// Acquire acquires k.
func Acquire(tb testing.TB, l *locker.Locker, k keyspace.Key, opts ...locker.AcquireOption) *locker.Hold {
	tb.Helper()
	return AcquireUnder(tb, context.Background(), l, k, opts...)
}

// AcquireUnder acquires k under ctx.
func AcquireUnder(tb testing.TB, ctx context.Context, l *locker.Locker, k keyspace.Key, opts ...locker.AcquireOption) *locker.Hold {
	tb.Helper()
	ctx, cancel := context.WithTimeout(ctx, Wait)
	defer cancel()
	h, err := l.Acquire(ctx, k, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// Release releases a Hold or a HoldSet.
func Release(tb testing.TB, h interface {
	Release(ctx context.Context) error
}) {
	tb.Helper()
	Must(tb, h.Release(context.Background()))
}

// UntilAcquired acquires k as soon as a try succeeds.
func UntilAcquired(tb testing.TB, l *locker.Locker, k keyspace.Key) (h *locker.Hold) {
	tb.Helper()
	Until(tb, k.String()+" can be acquired", func() (ok bool) {
		var err error
		h, err = l.TryAcquire(tb.Context(), k)
		return err == nil
	})
	return h
}

// UntilQueued waits until n entries hold or wait for k in etcd.
func UntilQueued(tb testing.TB, l *locker.Locker, k keyspace.Key, n int) {
	tb.Helper()
	Until(tb, "the queue has its length", func() bool {
		q, err := l.Inspect(context.Background(), k)
		Must(tb, err)
		return len(q.Holders)+len(q.Waiters) == n
	})
}

// Evict takes Key from its holder.
func Evict(tb testing.TB, l *locker.Locker) {
	tb.Helper()
	if done, err := l.Evict(tb.Context(), Key); !done || err != nil {
		tb.Fatalf("Evict: %v, %v", done, err)
	}
}
