package elock_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/phpgao/elock"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

const maxTTL = 9_000_000_000 // of etcd, in seconds

// calls is every call of an ELocker that can fail, with arguments that are good.
var calls = map[string]func(l *elock.ELocker) error{
	"Lock":   func(l *elock.ELocker) error { return l.Lock(context.Background(), keyName, 15) },
	"Unlock": func(l *elock.ELocker) error { return l.Unlock(context.Background(), keyName) },
	"RunFuncInLock": func(l *elock.ELocker) error {
		return locktest.Second(l.RunFuncInLock(context.Background(), keyName, 15, func() {}))
	},
	"RunJobInLock": func(l *elock.ELocker) error {
		return locktest.Second(l.RunJobInLock(context.Background(), keyName, 15, job(func() {})))
	},
	"Locker": func(l *elock.ELocker) error { return locktest.Second(l.Locker().Acquire(context.Background(), key)) },
}

func TestABadOptionComesBackFromEveryCall(t *testing.T) {
	t.Parallel()
	var w wire
	client := w.client(t)
	rows := map[string]*elock.ELocker{
		"nil client":            elock.NewELocker(nil),
		"nil option":            elock.NewELocker(client, nil),
		"prefix":                elock.NewELocker(client, elock.WithPrefix("")),
		"tick 0":                elock.NewELocker(client, elock.WithMonitorTicks(0)),
		"negative tick":         elock.NewELocker(client, elock.WithMonitorTicks(-1)),
		"max held time":         elock.NewELocker(client, elock.WithMaxHeldTime(-time.Second)),
		"negative least sleep":  elock.NewELocker(client, elock.WithRandomSleep(-1, 1)),
		"negative most sleep":   elock.NewELocker(client, elock.WithRandomSleep(1, -1)),
		"negative sleep":        elock.NewELocker(client, elock.WithRandomSleep(-2, -1)),
		"one among good":        elock.NewELocker(client, elock.WithPrefix("p"), elock.WithMonitorTicks(-1), elock.WithPrefix("q")),
		"nil option for Locker": elock.NewELocker(client, elock.WithLockerOptions(nil)),
		"option for Locker":     elock.NewELocker(client, elock.WithLockerOptions(locker.WithTTL(0))),
		"nil ELocker":           nil,
		"zero ELocker":          new(elock.ELocker),
	}
	for name, l := range rows {
		t.Run(name, func(t *testing.T) {
			for what, call := range calls {
				if err := call(l); err == nil {
					t.Errorf("%s: no error", what)
				} else {
					locktest.WantErr(t, err, locker.ErrInvalidOption)
				}
			}
			locktest.WantErr(t, l.Close(), locker.ErrInvalidOption)
		})
	}
	w.wantNothingSent(t)
}

func TestABadArgumentFailsBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	var w wire
	l := newELocker(t, w.client(t))
	ctx := t.Context()
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	run := func(ttl int, fn func()) error { return locktest.Second(l.RunFuncInLock(ctx, keyName, ttl, fn)) }
	type row struct {
		name string
		err  error
		want error
	}
	rows := []row{
		{"Lock for TTL 0", l.Lock(ctx, keyName, 0), locker.ErrInvalidTTL},
		{"Lock for a negative TTL", l.Lock(ctx, keyName, -1), locker.ErrInvalidTTL},
		{"Lock for a TTL above the maximum", l.Lock(ctx, keyName, maxTTL+1), locker.ErrInvalidTTL},
		{"Lock for the longest TTL", l.Lock(ctx, keyName, math.MaxInt), locker.ErrInvalidTTL},
		{"Lock for the most negative TTL", l.Lock(ctx, keyName, math.MinInt), locker.ErrInvalidTTL},
		{"RunFuncInLock for TTL 0", run(0, func() {}), locker.ErrInvalidTTL},
		{"RunFuncInLock for a TTL above the maximum", run(maxTTL+1, func() {}), locker.ErrInvalidTTL},
		{"RunFuncInLock of a nil function", run(15, nil), locker.ErrInvalidOption},
		{"RunJobInLock of a nil job", locktest.Second(l.RunJobInLock(ctx, keyName, 15, nil)), locker.ErrInvalidOption},
		{"Lock under a context that is done", l.Lock(canceled, keyName, 15), context.Canceled},
		{"Unlock of a key that is not held", l.Unlock(ctx, keyName), locker.ErrNotHeld},
	}
	for _, name := range []string{"", "/", "a//b", "/a", "a/", "a\x00b", "\xff", strings.Repeat("k", 1025)} {
		rows = append(rows,
			row{"Lock of a bad name", l.Lock(ctx, name, 15), keyspace.ErrInvalid},
			row{"Unlock of a bad name", l.Unlock(ctx, name), keyspace.ErrInvalid},
			row{"RunFuncInLock of a bad name", locktest.Second(l.RunFuncInLock(ctx, name, 15, func() {})), keyspace.ErrInvalid},
			row{"RunJobInLock of a bad name", locktest.Second(l.RunJobInLock(ctx, name, 15, job(func() {}))), keyspace.ErrInvalid},
		)
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) { locktest.WantErr(t, r.err, r.want) })
	}
	w.wantNothingSent(t)
}

func TestTheBoundsThemselvesAreGoodInput(t *testing.T) {
	t.Parallel()
	l, _, _, _ := newPair(t, elock.WithMaxHeldTime(0), elock.WithMonitorTicks(math.MaxInt64), elock.WithRandomSleep(0, 0),
		elock.WithTimeoutCallback(nil), elock.WithSuccessCallback(nil), elock.WithLockerOptions())
	for name, do := range map[string]func() error{
		"the longest TTL":  func() error { return l.Lock(t.Context(), "a", maxTTL) },
		"the shortest TTL": func() error { return l.Lock(t.Context(), "b", 1) },
		"the longest name": func() error { return l.Lock(t.Context(), strings.Repeat("k", 1024), 15) },
		"odd characters":   func() error { return l.Lock(t.Context(), "a:b/%2F/\n/世界/..", 15) },
		"no sleep":         func() error { return locktest.Second(l.RunFuncInLock(t.Context(), "c", 15, func() {})) },
	} {
		if err := do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEveryCallOnAClosedELockerIsErrClosed(t *testing.T) {
	t.Parallel()
	ends := map[string]func(l *elock.ELocker) error{
		"Close":    (*elock.ELocker).Close,
		"Shutdown": func(l *elock.ELocker) error { return l.Locker().Shutdown(context.Background()) },
	}
	for end, do := range ends {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			b, _, client, prefix := newPair(t)
			var w wire
			l := newELocker(t, w.client(t), elock.WithPrefix(prefix))
			lock(t, l, keyName)
			if end == "Shutdown" {
				unlock(t, l, keyName)
			}
			locktest.WantErr(t, do(l), nil)
			wantFree(t, client, prefix)
			w.sent.Store(0)
			for name, call := range calls {
				if err := call(l); err == nil {
					t.Errorf("%s: no error", name)
				} else {
					locktest.WantErr(t, err, locker.ErrClosed)
					if errors.Is(err, context.Canceled) {
						t.Errorf("%s: %v matches context.Canceled, which is of the caller's context", name, err)
					}
				}
			}
			locktest.WantErr(t, l.Close(), nil)
			w.wantNothingSent(t)
			lock(t, b, keyName)
		})
	}
}

func TestWhatRunsWhileTheELockerClosesGetsErrClosed(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	lock(t, a, "held")
	_, err := a.RunFuncInLock(t.Context(), keyName, 15, func() {
		locktest.WantErr(t, a.Close(), nil)
		lock(t, b, keyName)
	})
	locktest.WantErr(t, err, locker.ErrClosed)
	lock(t, b, "held")
	unlock(t, b, keyName)
}

func TestEveryErrorCanBeMatched(t *testing.T) {
	t.Parallel()
	var denied atomic.Bool
	w := wire{before: func(context.Context, any) error {
		if denied.Load() {
			return rpctypes.ErrGRPCPermissionDenied
		}
		return nil
	}}
	b, closed, _, prefix := newPair(t, elock.WithLockerOptions(locker.WithOwner("b")))
	a := newELocker(t, w.client(t), elock.WithPrefix(prefix))
	lock(t, b, "held")
	late, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	mine := errors.New("mine")
	caused, stop := context.WithCancelCause(t.Context())
	stop(mine)
	locktest.WantErr(t, closed.Close(), nil)

	rows := []struct {
		op, key string
		do      func() error
		want    []error
	}{
		{"lock", "held", func() error { return a.Lock(t.Context(), "held", 15) }, []error{locker.ErrLocked}},
		{"run", "held", func() error { return locktest.Second(a.RunFuncInLock(t.Context(), "held", 15, func() {})) }, []error{locker.ErrLocked}},
		{"run", "k", func() error { return locktest.Second(a.RunFuncInLock(t.Context(), "k", 15, nil)) }, []error{locker.ErrInvalidOption}},
		{"run", "k", func() error { return locktest.Second(a.RunJobInLock(t.Context(), "k", 15, nil)) }, []error{locker.ErrInvalidOption}},
		{"unlock", "none", func() error { return a.Unlock(t.Context(), "none") }, []error{locker.ErrNotHeld}},
		{"lock", "k", func() error { return a.Lock(t.Context(), "k", 0) }, []error{locker.ErrInvalidTTL, locker.ErrInvalidOption}},
		{"lock", "k", func() error { return a.Lock(t.Context(), "k", math.MaxInt) }, []error{locker.ErrInvalidTTL, locker.ErrInvalidOption}},
		{"lock", "", func() error { return a.Lock(t.Context(), "", 15) }, []error{keyspace.ErrInvalid}},
		{"lock", "k", func() error { return a.Lock(late, "k", 15) }, []error{context.DeadlineExceeded}},
		{"lock", "k", func() error { return a.Lock(caused, "k", 15) }, []error{context.Canceled, mine}},
		{"lock", "k", func() error { return closed.Lock(t.Context(), "k", 15) }, []error{locker.ErrClosed}},
		{"lock", "k", func() error { return elock.NewELocker(nil).Lock(t.Context(), "k", 15) }, []error{locker.ErrInvalidOption}},
		{"close", "", func() error { return elock.NewELocker(nil).Close() }, []error{locker.ErrInvalidOption}},
		{"run", "k", func() error {
			return locktest.Second(a.RunFuncInLock(t.Context(), "k", 15, func() { evictFrom(t, b, "k") }))
		}, []error{locker.ErrLost}},
		{"lock", "k", func() error {
			denied.Store(true)
			defer denied.Store(false)
			return a.Lock(t.Context(), "k", 15)
		}, []error{rpctypes.ErrPermissionDenied}},
		{"unlock", "k", func() error {
			lock(t, a, "k")
			denied.Store(true)
			defer denied.Store(false)
			return a.Unlock(t.Context(), "k")
		}, []error{rpctypes.ErrPermissionDenied}},
	}
	for _, r := range rows {
		err := r.do()
		locktest.WantErr(t, err, r.want...)
		e, ok := errors.AsType[*locker.Error](err)
		if !ok || e.Op != r.op || e.Key != r.key {
			t.Errorf("got %#v, want an Error of %s %q", err, r.op, r.key)
			continue
		}
		if strings.Count(err.Error(), "elock:") != 1 {
			t.Errorf("the error was wrapped more than once: %v", err)
		}
		if locked := errors.Is(err, locker.ErrLocked); (e.Blocker != nil) != locked || locked && e.Blocker.Name != "b" {
			t.Errorf("%v: blocker %v", err, e.Blocker)
		}
	}
}

// evictFrom takes name from its holder.
func evictFrom(tb testing.TB, l *elock.ELocker, name string) {
	tb.Helper()
	if done, err := l.Locker().Evict(tb.Context(), keyspace.MustParse(name)); !done || err != nil {
		tb.Errorf("Evict: %v, %v", done, err)
	}
}
