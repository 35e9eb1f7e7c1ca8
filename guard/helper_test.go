package guard_test

import (
	"context"
	"errors"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// wait bounds what a test waits for; a test that passes never waits so long.
const wait = locktest.Wait

var (
	key     = keyspace.MustParse("space/key")
	errMine = errors.New("mine")
)

// newPair returns the Lockers of two processes.
func newPair(tb testing.TB, opts ...locker.Option) (a, b *locker.Locker) {
	tb.Helper()
	s := etcdtest.Start(tb)
	prefix := locker.WithPrefix(s.Prefix(tb))
	return newLocker(tb, s.Client(tb), append(opts, prefix)...), newLocker(tb, s.Client(tb), append(opts, prefix)...)
}

// newLocker returns a Locker that is quiet and closed when the test ends.
func newLocker(tb testing.TB, client *clientv3.Client, opts ...locker.Option) *locker.Locker {
	tb.Helper()
	return locktest.New(tb, client, opts...)
}

// never is a Func that must not be called.
func never(tb testing.TB) guard.Func[int] {
	return func(context.Context, *locker.Hold) (int, error) {
		tb.Error("the function ran")
		return 0, nil
	}
}

// occupy holds key with l until the test, or the returned function, ends it.
func occupy(tb testing.TB, l *locker.Locker) (release func()) {
	tb.Helper()
	h, err := l.TryAcquire(context.Background(), key)
	if err != nil {
		tb.Fatal(err)
	}
	return func() {
		tb.Helper()
		if err := h.Release(context.Background()); err != nil {
			tb.Fatal(err)
		}
	}
}

// wantFree fails the test unless nobody holds key or waits for it.
func wantFree(tb testing.TB, l *locker.Locker) {
	tb.Helper()
	occupy(tb, l)()
}

// wantLocked fails the test unless another process holds key.
func wantLocked(tb testing.TB, l *locker.Locker) {
	tb.Helper()
	if h, err := l.TryAcquire(context.Background(), key); !errors.Is(err, locker.ErrLocked) {
		_ = h.Release(context.Background())
		tb.Errorf("got error %v, want %v", err, locker.ErrLocked)
	}
}

func wantErr(tb testing.TB, err error, want ...error) {
	tb.Helper()
	locktest.WantErr(tb, err, want...)
}

func receive[T any](tb testing.TB, c <-chan T) T {
	tb.Helper()
	return locktest.Receive(tb, c)
}
