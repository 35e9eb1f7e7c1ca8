package peers

import (
	"context"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/bsm/redislock"
	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidislock"

	"github.com/phpgao/elock/benchmarks/internal/work"
)

// A retry is how long a lock that asks again waits before it does. The zero retry is what the library does by default or,
// if it does not ask again by default, what its README shows.
type retry time.Duration

// eager asks again so often that hand-overs are as fast as asking makes them, and the server is busy with it.
const eager = retry(time.Millisecond)

// redislockImpl is bsm/redislock.
func redislockImpl(name, addr string, r retry) work.Impl {
	if r == 0 {
		r = retry(100 * time.Millisecond)
	}
	return work.Impl{Name: name, Open: func(tb testing.TB, _ *work.Site) work.Process {
		tb.Helper()
		client := redislock.New(newClient(tb, addr))
		options := &redislock.Options{RetryStrategy: redislock.LinearBackoff(time.Duration(r))}
		return func() work.Worker {
			return func(key int) work.Lock { return &redislockLock{client, options, keyName(key), nil} }
		}
	}}
}

type redislockLock struct {
	client  *redislock.Client
	options *redislock.Options
	key     string
	lock    *redislock.Lock
}

func (l *redislockLock) Lock(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Hour) // without a deadline it gives up after the TTL
	defer cancel()
	l.lock, err = l.client.Obtain(ctx, l.key, work.TTL, l.options)
	return err
}

func (l *redislockLock) Unlock(ctx context.Context) error { return l.lock.Release(ctx) }

// redsyncImpl is go-redsync/redsync.
func redsyncImpl(name, addr string, r retry) work.Impl {
	options := []redsync.Option{redsync.WithExpiry(work.TTL), redsync.WithTries(math.MaxInt)}
	if r != 0 {
		options = append(options, redsync.WithRetryDelay(time.Duration(r)))
	}
	return work.Impl{Name: name, Open: func(tb testing.TB, _ *work.Site) work.Process {
		tb.Helper()
		rs := redsync.New(goredis.NewPool(newClient(tb, addr)))
		return func() work.Worker {
			return func(key int) work.Lock { return redsyncLock{rs.NewMutex(keyName(key), options...)} }
		}
	}}
}

type redsyncLock struct{ mutex *redsync.Mutex }

func (l redsyncLock) Lock(ctx context.Context) error { return l.mutex.LockContext(ctx) }

func (l redsyncLock) Unlock(ctx context.Context) error {
	_, err := l.mutex.UnlockContext(ctx)
	return err
}

// rueidisImpl is redis/rueidis/rueidislock. A waiter is told by Redis when the key changes.
func rueidisImpl(name, addr string) work.Impl {
	return work.Impl{Name: name, Open: func(tb testing.TB, _ *work.Site) work.Process {
		tb.Helper()
		locker, err := rueidislock.NewLocker(rueidislock.LockerOption{
			ClientOption:   rueidis.ClientOption{InitAddress: []string{addr}},
			KeyValidity:    work.TTL,
			KeyMajority:    1, // as the others: one server, one key
			NoLoopTracking: true,
			TryNextAfter:   time.Minute, // its 20 ms are too few for many goroutines on few cores
		})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(locker.Close)
		return func() work.Worker {
			return func(key int) work.Lock { return &rueidisLock{locker, keyName(key), nil} }
		}
	}}
}

type rueidisLock struct {
	locker rueidislock.Locker
	key    string
	unlock func()
}

// Lock asks again after a second: now and then, among 16 processes once in some thousand locks, a waiter of v1.0.79 is not
// told of a release, and would wait for the next.
func (l *rueidisLock) Lock(ctx context.Context) error {
	for {
		try, cancel := context.WithCancel(ctx)
		impatient := time.AfterFunc(time.Second, cancel)
		_, unlock, err := l.locker.WithContext(try, l.key)
		inTime := impatient.Stop()
		if err == nil && inTime {
			l.unlock = func() { unlock(); cancel() }
			return nil
		}
		if err == nil {
			unlock()
		}
		cancel()
		if err != nil && inTime {
			return err
		}
	}
}

func (l *rueidisLock) Unlock(context.Context) error { l.unlock(); return nil }

func keyName(key int) string { return "key-" + strconv.Itoa(key) }

// newClient is a client with its defaults, closed when the test ends.
func newClient(tb testing.TB, addr string) *redis.Client {
	tb.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr})
	tb.Cleanup(func() {
		if err := client.Close(); err != nil {
			tb.Error(err)
		}
	})
	return client
}
