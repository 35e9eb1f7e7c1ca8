package work

import (
	"context"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/phpgao/elock"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// TTL is that of all leases, sessions and locks. Nothing ever waits for its end.
const TTL = 15 * time.Second

// Elock is a Locker for each process.
func Elock(name string, opts ...locker.Option) Impl {
	return withLocker(name, opts, func(l *locker.Locker) Worker {
		return func(key int) Lock { return &elockLock{locker: l, key: names.Key(key)} }
	})
}

// Background is Elock WithReleaseInBackground: an unlock does not wait for its release. In place of each key it takes one of so many
// in turn.
func Background(name string, keys int) Impl {
	return withLocker(name, []locker.Option{locker.WithReleaseInBackground(nil)}, func(l *locker.Locker) Worker {
		return func(key int) Lock {
			return &backgroundLock{elockLock: elockLock{locker: l}, first: key * keys, keys: keys}
		}
	})
}

// elockShared is Elock whose holds are shared.
func elockShared(name string) Impl {
	return withLocker(name, nil, func(l *locker.Locker) Worker {
		return func(key int) Lock {
			return &elockLock{locker: l, key: names.Key(key), opts: []locker.AcquireOption{locker.Shared()}}
		}
	})
}

// Classic is an ELocker for each process: the calls of the classic library. They do not wait.
func Classic(name string) Impl {
	return Impl{name, func(tb testing.TB, s *Site) Process {
		tb.Helper()
		l := elock.NewELocker(s.client(tb), elock.WithPrefix(s.prefix+"/"+name), elock.WithMaxHeldTime(0))
		closing(tb, l.Close)
		return func() Worker {
			return func(key int) Lock { return &classicLock{locker: l, key: "key-" + strconv.Itoa(key)} }
		}
	}}
}

var names = keyspace.MustNew[int]("key")

func withLocker(name string, opts []locker.Option, worker func(*locker.Locker) Worker) Impl {
	return Impl{name, func(tb testing.TB, s *Site) Process {
		tb.Helper()
		all := append([]locker.Option{locker.WithPrefix(s.prefix + "/" + name), locker.WithTTL(TTL), locker.WithLogger(slog.New(&s.warned))}, opts...)
		l, err := locker.New(s.client(tb), all...)
		if err != nil {
			tb.Fatal(err)
		}
		closing(tb, l.Close)
		return func() Worker { return worker(l) }
	}}
}

func closing(tb testing.TB, close func() error) {
	tb.Cleanup(func() {
		if err := close(); err != nil && !tb.Skipped() { // a benchmark that gave up leaves much behind
			tb.Error(err)
		}
	})
}

type elockLock struct {
	locker *locker.Locker
	key    keyspace.Key
	opts   []locker.AcquireOption
	hold   *locker.Hold
}

func (l *elockLock) Lock(ctx context.Context) (err error) {
	l.hold, err = l.locker.Acquire(ctx, l.key, l.opts...)
	return err
}

func (l *elockLock) TryLock(ctx context.Context) (err error) {
	l.hold, err = l.locker.TryAcquire(ctx, l.key)
	return err
}

func (l *elockLock) Unlock(ctx context.Context) error { return l.hold.Release(ctx) }

type backgroundLock struct {
	elockLock
	first, keys, n int
}

func (l *backgroundLock) Lock(ctx context.Context) error {
	l.key = names.Key(l.first + l.n%l.keys)
	l.n++
	return l.elockLock.Lock(ctx)
}

// Unlock is what RunInLock does after its function.
func (l *backgroundLock) Unlock(context.Context) error {
	return l.hold.Run(func(context.Context, *locker.Hold) error { return nil })
}

type classicLock struct {
	locker *elock.ELocker
	key    string
}

// Lock is for keys that nobody else wants.
func (l *classicLock) Lock(ctx context.Context) error { return l.TryLock(ctx) }
func (l *classicLock) TryLock(ctx context.Context) error {
	return l.locker.Lock(ctx, l.key, int(TTL.Seconds()))
}
func (l *classicLock) Unlock(ctx context.Context) error { return l.locker.Unlock(ctx, l.key) }
