package locker_test

import (
	"context"
	"fmt"
	"testing"
	"time"

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
	ctx, cancel := context.WithTimeout(context.Background(), wait)
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
	r := acquire(t, a, key, locker.Shared())
	for began := time.Now(); time.Since(began) < 200*time.Millisecond; { // several terms
		h, err := tryShared(t, a)
		wantErr(t, err, nil)
		release(t, h)
		release(t, acquire(t, a, key, locker.Shared()))
	}
	release(t, r)
}

func TestReadersThatWaitTogetherReadTogetherThoughEtcdAnswersSlowly(t *testing.T) {
	t.Parallel()
	_, b, client, prefix := newPair(t)
	a := newLocker(t, faulty(client, slowly()), locker.WithPrefix(prefix))
	w := acquire(t, b, key)
	var readers []func() *locker.Hold
	for range 2 {
		readers = append(readers, async(t, func() *locker.Hold {
			h, _ := a.Acquire(context.Background(), key, locker.Shared(), locker.Reading("x"))
			return h
		}))
	}
	until(t, "a reader waits behind the other", func() bool { return locker.Waiting(a, key) == 1 })
	untilQueued(t, b, key, 2)
	release(t, w)
	var holds []*locker.Hold
	for _, r := range readers { // both hold before one is released
		holds = append(holds, r())
	}
	for _, h := range holds {
		release(t, h)
	}
}

func TestAWriterThatGivesUpNoLongerKeepsReadersApart(t *testing.T) {
	t.Parallel()
	a, _, _, _ := newPair(t)
	r := acquire(t, a, key, locker.Shared())
	ctx, cancel := context.WithCancel(t.Context())
	w := async(t, func() error { _, err := a.Acquire(ctx, key); return err })
	until(t, "the writer waits", func() bool { return locker.Waiting(a, key) == 1 })
	reader := async(t, func() error { return share(a) })
	until(t, "the reader waits", func() bool { return locker.Waiting(a, key) == 2 })
	cancel()
	wantErr(t, w(), context.Canceled)
	wantErr(t, reader(), nil)
	h, err := tryShared(t, a)
	wantErr(t, err, nil)
	release(t, h)
	release(t, r)
}

// Every end of a term, and there are many, is a chance to forget who waits.
func TestReadersThatComeAndGoNeverWaitForEachOther(t *testing.T) {
	t.Parallel()
	a, _, _, _ := newPair(t)
	r := acquire(t, a, key, locker.Shared())
	stop := time.Now().Add(time.Second)
	var all []func() error
	for range 2 {
		all = append(all, async(t, func() error {
			for n := 0; time.Now().Before(stop); n++ {
				if err := share(a); err != nil {
					return fmt.Errorf("after %d times: %w", n, err)
				}
			}
			return nil
		}))
	}
	for _, done := range all {
		wantErr(t, done(), nil)
	}
	release(t, r)
}

func TestReadersJoinOneEntryMoreOftenThanItHasTokens(t *testing.T) {
	t.Parallel()
	a, _, _, _ := newPair(t)
	r := acquire(t, a, key, locker.Shared())
	for range 1<<16 + 100 {
		release(t, acquire(t, a, key, locker.Shared()))
	}
	release(t, r)
}
