package locker_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
)

// slowly returns faults that delay every answer for longer than a term of
// sharing.
func slowly() *faults {
	return &faults{after: func(_ context.Context, _ call, err error) error {
		time.Sleep(15 * time.Millisecond)
		return err
	}}
}

// share acquires key to share it, and releases it.
func share(l *locker.Locker) error {
	ctx, cancel := context.WithTimeout(context.Background(), locktest.Wait)
	defer cancel()
	h, err := l.Acquire(ctx, key, locker.Shared())
	if err != nil {
		return err
	}
	return h.Release(ctx)
}

func TestReadersJoinThoughEtcdAnswersSlowly(t *testing.T) {
	t.Parallel()
	_, _, client, prefix := newPair(t)
	a := newLocker(t, faulty(client, slowly()), locker.WithPrefix(prefix))
	r := locktest.Acquire(t, a, key, locker.Shared())
	for began := time.Now(); time.Since(began) < 200*time.Millisecond; { // several terms
		h, err := tryShared(t, a)
		locktest.WantErr(t, err, nil)
		locktest.Release(t, h)
		locktest.Release(t, locktest.Acquire(t, a, key, locker.Shared()))
	}
	locktest.Release(t, r)
}

func TestReadersThatWaitTogetherReadTogetherThoughEtcdAnswersSlowly(t *testing.T) {
	t.Parallel()
	_, b, client, prefix := newPair(t)
	a := newLocker(t, faulty(client, slowly()), locker.WithPrefix(prefix))
	w := locktest.Acquire(t, b, key)
	var readers []func() *locker.Hold
	for range 2 {
		readers = append(readers, locktest.Async(t, func() *locker.Hold {
			h, _ := a.Acquire(context.Background(), key, locker.Shared(), locker.ReadKeys("/"+prefix+"-x"))
			return h
		}))
	}
	locktest.Until(t, "a reader waits behind the other", func() bool { return locker.Waiting(a, key) == 1 })
	locktest.UntilQueued(t, b, key, 2)
	locktest.Release(t, w)
	var holds []*locker.Hold
	for _, r := range readers { // both hold before one is released
		holds = append(holds, r())
	}
	for _, h := range holds {
		locktest.Release(t, h)
	}
}

func TestAWriterThatGivesUpNoLongerKeepsReadersApart(t *testing.T) {
	t.Parallel()
	a, _, _, _ := newPair(t)
	r := locktest.Acquire(t, a, key, locker.Shared())
	ctx, cancel := context.WithCancel(t.Context())
	w := locktest.Async(t, func() error { _, err := a.Acquire(ctx, key); return err })
	locktest.Until(t, "the writer waits", func() bool { return locker.Waiting(a, key) == 1 })
	reader := locktest.Async(t, func() error { return share(a) })
	locktest.Until(t, "the reader waits", func() bool { return locker.Waiting(a, key) == 2 })
	cancel()
	locktest.WantErr(t, w(), context.Canceled)
	locktest.WantErr(t, reader(), nil)
	h, err := tryShared(t, a)
	locktest.WantErr(t, err, nil)
	locktest.Release(t, h)
	locktest.Release(t, r)
}

// Every end of a term, and there are many, is a chance to forget who waits.
func TestReadersThatComeAndGoNeverWaitForEachOther(t *testing.T) {
	t.Parallel()
	a, _, _, _ := newPair(t)
	r := locktest.Acquire(t, a, key, locker.Shared())
	stop := time.Now().Add(time.Second)
	var all []func() error
	for range 2 {
		all = append(all, locktest.Async(t, func() error {
			for n := 0; time.Now().Before(stop); n++ {
				if err := share(a); err != nil {
					return fmt.Errorf("after %d times: %w", n, err)
				}
			}
			return nil
		}))
	}
	for _, done := range all {
		locktest.WantErr(t, done(), nil)
	}
	locktest.Release(t, r)
}

func TestReadersJoinOneEntryMoreOftenThanItHasTokens(t *testing.T) {
	t.Parallel()
	a, _, _, _ := newPair(t)
	r := locktest.Acquire(t, a, key, locker.Shared())
	for range 1<<16 + 100 {
		locktest.Release(t, locktest.Acquire(t, a, key, locker.Shared()))
	}
	locktest.Release(t, r)
}

// A reader finds that the lease of those whom it joined is over: neither it nor those behind it may hold under it.
func TestAReaderThatJoinsUnderALeaseThatIsOverQueuesAgain(t *testing.T) {
	t.Parallel()
	_, _, client, prefix := newPair(t)
	for range 20 {
		a := newLocker(t, client, locker.WithPrefix(prefix))
		var slept atomic.Int64
		locker.SetClocks(a, func() time.Time { return time.Now().Add(time.Duration(slept.Load())) })
		first := locktest.Acquire(t, a, key, locker.Shared())
		slept.Store(int64(time.Hour)) // within a term of sharing
		var readers []func() *locker.Hold
		for range 3 {
			readers = append(readers, locktest.Async(t, func() *locker.Hold {
				h, err := a.Acquire(context.Background(), key, locker.Shared())
				if err != nil {
					t.Errorf("a reader: %v", err)
				}
				return h
			}))
		}
		for _, r := range readers {
			if h := r(); h == nil {
				continue
			} else if h.Token() <= first.Token() || h.Err() != nil {
				t.Errorf("after %v comes %v: %v", first, h, h.Err())
			} else {
				locktest.Release(t, h)
			}
		}
		locktest.WantErr(t, first.Err(), locker.ErrLost)
		locktest.WantErr(t, a.Close(), nil)
	}
}
