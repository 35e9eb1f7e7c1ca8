package locker_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

const maxTTL = 9_000_000_000 // of etcd, in seconds

// calls is every call of a Locker that can fail, with arguments that are good.
var calls = map[string]func(l *locker.Locker) error{
	"RunInLock":  func(l *locker.Locker) error { return l.RunInLock(context.Background(), key, nothing) },
	"Acquire":    func(l *locker.Locker) error { _, err := l.Acquire(context.Background(), key); return err },
	"TryAcquire": func(l *locker.Locker) error { _, err := l.TryAcquire(context.Background(), key); return err },
	"Inspect":    func(l *locker.Locker) error { _, err := l.Inspect(context.Background(), key); return err },
	"List":       func(l *locker.Locker) error { return listError(l.List(context.Background(), "")) },
	"Blocking":   func(l *locker.Locker) error { return locktest.Second(l.Blocking(context.Background(), key)) },
	"Evict":      func(l *locker.Locker) error { _, err := l.Evict(context.Background(), key); return err },
	"Shutdown":   func(l *locker.Locker) error { return l.Shutdown(context.Background()) },
}

// counted returns a client whose requests are counted.
func counted(tb testing.TB) (*clientv3.Client, *counter) {
	n := new(counter)
	return faulty(etcdtest.Start(tb).Client(tb), &faults{after: n.after}), n
}

func wantNothingSent(tb testing.TB, n *counter) {
	tb.Helper()
	if sent := n.calls.Swap(0); sent != 0 {
		tb.Errorf("%d requests were sent to etcd", sent)
	}
}

func TestABadOptionFailsNew(t *testing.T) {
	t.Parallel()
	client, n := counted(t)
	without := func(edit func(c *clientv3.Client)) *clientv3.Client {
		c := faulty(client, &faults{})
		edit(c)
		return c
	}
	rows := []struct {
		name   string
		client *clientv3.Client
		opt    locker.Option
		want   error
	}{
		{"nil client", nil, locker.WithPrefix("p"), locker.ErrInvalidOption},
		{"client without KV", without(func(c *clientv3.Client) { c.KV = nil }), locker.WithPrefix("p"), locker.ErrInvalidOption},
		{"client without Lease", without(func(c *clientv3.Client) { c.Lease = nil }), locker.WithPrefix("p"), locker.ErrInvalidOption},
		{"client without Watcher", without(func(c *clientv3.Client) { c.Watcher = nil }), locker.WithPrefix("p"), locker.ErrInvalidOption},
		{"nil option", client, nil, locker.ErrInvalidOption},
		{"nil hook", client, locker.WithHook(nil), locker.ErrInvalidOption},
		{"nil hook among hooks", client, locker.WithHook(locker.NopHook{}, nil), locker.ErrInvalidOption},
		{"nil logger", client, locker.WithLogger(nil), locker.ErrInvalidOption},
		{"empty prefix", client, locker.WithPrefix(""), locker.ErrInvalidOption},
		{"prefix of slashes", client, locker.WithPrefix("//"), locker.ErrInvalidOption},
		{"prefix with an empty segment", client, locker.WithPrefix("a//b"), locker.ErrInvalidOption},
		{"prefix with NUL", client, locker.WithPrefix("a\x00"), locker.ErrInvalidOption},
		{"prefix that is not UTF-8", client, locker.WithPrefix("\xff"), keyspace.ErrInvalid},
		{"prefix too long", client, locker.WithPrefix(strings.Repeat("p", 1025)), keyspace.ErrInvalid},
		{"empty owner", client, locker.WithOwner(""), locker.ErrInvalidOption},
		{"owner too long", client, locker.WithOwner(strings.Repeat("o", 1025)), locker.ErrInvalidOption},
		{"TTL 0", client, locker.WithTTL(0), locker.ErrInvalidTTL},
		{"negative TTL", client, locker.WithTTL(-time.Second), locker.ErrInvalidTTL},
		{"TTL above the maximum", client, locker.WithTTL(maxTTL*time.Second + 1), locker.ErrInvalidTTL},
		{"the longest TTL", client, locker.WithTTL(math.MaxInt64), locker.ErrInvalidTTL},
		{"negative maximum held time", client, locker.WithMaxHeldTime(-1), locker.ErrInvalidOption},
		{"tick 0", client, locker.WithMonitorTicks(0), locker.ErrInvalidOption},
		{"negative tick", client, locker.WithMonitorTicks(-1), locker.ErrInvalidOption},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			l, err := locker.New(r.client, r.opt, locker.WithMaxHeldTime(time.Minute)) // a good one after it changes nothing
			locktest.WantErr(t, err, r.want)
			locktest.WantErr(t, err, locker.ErrInvalidOption)
			if e, ok := errors.AsType[*locker.Error](err); !ok || e.Op != "new" || l != nil {
				t.Errorf("got %v, %#v", l, err)
			}
			wantNothingSent(t, n)
		})
	}
}

func TestABadArgumentFailsBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	client, n := counted(t)
	l := newLocker(t, client, locker.WithPrefix(etcdtest.Start(t).Prefix(t)))
	ctx := t.Context()
	var zero keyspace.Key
	with := func(opts ...locker.AcquireOption) error { _, err := l.Acquire(ctx, key, opts...); return err }
	rows := []struct {
		name string
		err  error
		want error
	}{
		{"RunInLock of a nil function", l.RunInLock(ctx, key, nil), locker.ErrInvalidOption},
		{"RunInLock of the zero key", l.RunInLock(ctx, zero, nothing), keyspace.ErrInvalid},
		{"Acquire of the zero key", locktest.Second(l.Acquire(ctx, zero)), keyspace.ErrInvalid},
		{"TryAcquire of the zero key", locktest.Second(l.TryAcquire(ctx, zero)), keyspace.ErrInvalid},
		{"Inspect of the zero key", locktest.Second(l.Inspect(ctx, zero)), keyspace.ErrInvalid},
		{"Blocking of the zero key", locktest.Second(l.Blocking(ctx, zero)), keyspace.ErrInvalid},
		{"Evict of the zero key", locktest.Second(l.Evict(ctx, zero)), keyspace.ErrInvalid},
		{"Acquire with a nil option", with(nil), locker.ErrInvalidOption},
		{"Acquire for TTL 0", with(locker.TTL(0)), locker.ErrInvalidTTL},
		{"Acquire for a negative TTL", with(locker.TTL(-1)), locker.ErrInvalidTTL},
		{"Acquire for a TTL above the maximum", with(locker.TTL(maxTTL*time.Second + 1)), locker.ErrInvalidTTL},
		{"Acquire for a negative maximum", with(locker.MaxHeld(-1)), locker.ErrInvalidOption},
		{"Acquire for a negative maximum, then a good one", with(locker.MaxHeld(-1), locker.MaxHeld(1)), locker.ErrInvalidOption},
		{"Acquire under a context that is done", locktest.Second(l.Acquire(canceled(), key)), context.Canceled},
		{"TryAcquire under a context that is done", locktest.Second(l.TryAcquire(canceled(), key)), context.Canceled},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) { locktest.WantErr(t, r.err, r.want) })
	}
	wantNothingSent(t, n)
}

func TestTheBoundsThemselvesAreGoodInput(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	l := newLocker(t, s.Client(t), locker.WithPrefix(s.Prefix(t)),
		locker.WithTTL(1), locker.WithMaxHeldTime(0), locker.WithMonitorTicks(math.MaxInt64),
		locker.WithTimeoutCallback(nil), locker.WithSuccessCallback(nil), locker.WithHook(), locker.WithOwner("o"))
	for name, do := range map[string]func() error{
		"the longest TTL": func() error {
			return locktest.Second(l.Acquire(t.Context(), keyspace.MustParse("a"), locker.TTL(maxTTL*time.Second)))
		},
		"the shortest TTL": func() error { return locktest.Second(l.Acquire(t.Context(), keyspace.MustParse("b"), locker.TTL(1))) },
		"the longest name": func() error {
			return locktest.Second(l.Acquire(t.Context(), keyspace.MustParse(strings.Repeat("k", 1024))))
		},
		"odd characters": func() error {
			return locktest.Second(l.Acquire(t.Context(), keyspace.MustParse("a:b/%2F/\n/世界/..")))
		},
		"the longest limits": func() error { return locktest.Second(l.Acquire(t.Context(), key, locker.MaxHeld(math.MaxInt64))) },
	} {
		if err := do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEveryCallOnAClosedLockerIsErrClosed(t *testing.T) {
	t.Parallel()
	ends := map[string]func(l *locker.Locker) error{
		"Close":    (*locker.Locker).Close,
		"Shutdown": func(l *locker.Locker) error { return l.Shutdown(context.Background()) },
	}
	for end, do := range ends {
		t.Run(end, func(t *testing.T) {
			client, n := counted(t)
			l := newLocker(t, client, locker.WithPrefix(etcdtest.Start(t).Prefix(t)))
			h := locktest.Acquire(t, l, key)
			if end == "Shutdown" {
				locktest.Release(t, h)
			}
			if err := do(l); err != nil {
				t.Fatal(err)
			}
			n.calls.Store(0)
			for name, call := range calls {
				if err := call(l); err == nil {
					t.Errorf("%s: no error", name)
				} else {
					locktest.WantErr(t, err, locker.ErrClosed)
				}
			}
			if err := l.Close(); err != nil {
				t.Errorf("Close again: %v", err)
			}
			wantNothingSent(t, n)
		})
	}
}

func TestWhatRunsWhileTheLockerClosesGetsErrClosed(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	locktest.Acquire(t, a, neighbour)
	err := a.RunInLock(t.Context(), key, func(context.Context, *locker.Hold) error {
		locktest.WantErr(t, a.Close(), nil)
		locktest.Release(t, locktest.Acquire(t, b, key))
		return nil
	})
	locktest.WantErr(t, err, locker.ErrClosed)
	locktest.Release(t, locktest.Acquire(t, b, neighbour))
}
