package once_test

import (
	"context"
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
	"github.com/phpgao/elock/once"
)

var (
	key     = keyspace.MustParse("space/job")
	errMine = errors.New("mine")
)

// wantErr fails the test unless an error matches all of some errors, or is nil if there are none.
var wantErr = locktest.CheckErr

const path = "/elock/space:/job%once"

type fn = func(context.Context, *locker.Hold) error

func nothing(context.Context, *locker.Hold) error { return nil }

// never is a function that must not be called.
func never(tb testing.TB) fn {
	return func(context.Context, *locker.Hold) error {
		tb.Helper()
		tb.Error("the function ran")
		return nil
	}
}

// within returns a function that takes d, or until its context is done.
func within(d time.Duration) fn {
	return func(ctx context.Context, _ *locker.Hold) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// want fails the test unless a Do returned that.
func want(tb testing.TB, wantRan bool, ran bool, err error, errs ...error) {
	tb.Helper()
	if ran != wantRan {
		tb.Errorf("ran is %v", ran)
	}
	wantErr(tb, err, errs...)
}

// wantRuns fails the test unless the tick is not run yet: it runs it.
func wantRuns(tb testing.TB, l *locker.Locker, tick string) {
	tb.Helper()
	ran, err := once.Do(context.Background(), l, key, tick, nothing)
	want(tb, true, ran, err)
}

// wantDone fails the test unless the tick was run.
func wantDone(tb testing.TB, l *locker.Locker, tick string) {
	tb.Helper()
	ran, err := once.Do(context.Background(), l, key, tick, never(tb))
	want(tb, false, ran, err)
}

// wantFree fails the test unless nobody holds the lock or waits for it.
func wantFree(tb testing.TB, l *locker.Locker) {
	tb.Helper()
	h, err := l.TryAcquire(context.Background(), key)
	if err != nil {
		tb.Error(err)
		return
	}
	wantErr(tb, h.Release(context.Background()))
}

// stored returns the marker, "" if there is none.
func stored(tb testing.TB, client *clientv3.Client) string {
	tb.Helper()
	resp, err := client.Get(context.Background(), path)
	if err != nil {
		tb.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return ""
	}
	return string(resp.Kvs[0].Value)
}

func put(tb testing.TB, l *locker.Locker, value string) {
	tb.Helper()
	if _, err := l.Client().Put(context.Background(), path, value); err != nil {
		tb.Fatal(err)
	}
}

// newTapped returns a Locker beside l, whose way to etcd goes through f.
func newTapped(tb testing.TB, l *locker.Locker, f *locktest.Tap) *locker.Locker {
	tb.Helper()
	return locktest.New(tb, f.On(lockertest.Client(l)))
}

type (
	answer = locktest.Answer
	send   = locktest.Send
)

// marks reports whether a transaction puts or deletes the marker at name.
func marks(t locktest.Txn, name string) bool { return t.Puts(name) || t.Deletes(name) }

// sent returns how many reads and transactions there were since the last call.
func sent(f *locktest.Tap) (gets, txns int) {
	all, gets := f.Sent()
	f.Reset()
	return gets, len(all)
}
