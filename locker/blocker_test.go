package locker_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// wantNot fails the test if err matches one of those.
func wantNot(tb testing.TB, err error, not ...error) {
	tb.Helper()
	for _, n := range not {
		if errors.Is(err, n) {
			tb.Errorf("error %v matches %v", err, n)
		}
	}
}

// wantBlocker fails the test unless err names that owner; "" for none.
func wantBlocker(tb testing.TB, err error, name string) {
	tb.Helper()
	e, ok := errors.AsType[*locker.Error](err)
	switch {
	case !ok:
		tb.Errorf("got error %v, want an *Error", err)
	case name == "" && e.Blocker != nil, name != "" && (e.Blocker == nil || e.Blocker.Name != name):
		tb.Errorf("%v: got blocker %+v, want %q", err, e.Blocker, name)
	}
}

// limits are contexts that end after a second, and the errors they give.
var limits = map[string]struct {
	make func(ctx context.Context) (context.Context, context.CancelFunc)
	err  error
}{
	"deadline": {func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithTimeout(ctx, time.Second)
	}, context.DeadlineExceeded},
	"cancelled": {func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(ctx)
		time.AfterFunc(time.Second, cancel)
		return ctx, cancel
	}, context.Canceled},
}

func TestAWaitThatEndsWithItsContextTellsWhoHeldTheLock(t *testing.T) {
	t.Parallel()
	for name, limit := range limits {
		for where, local := range map[string]bool{"here": true, "elsewhere": false} {
			t.Run(name+"/"+where, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a, b := lockertest.NewPair(t, locker.WithOwner("holder"))
					if local {
						b = a
					}
					locktest.Acquire(t, a, key)
					for _, call := range []func(context.Context) error{
						func(ctx context.Context) error { _, err := b.Acquire(ctx, key); return err },
						func(ctx context.Context) error {
							_, err := b.AcquireAll(ctx, []keyspace.Key{key, neighbour})
							return err
						},
					} {
						ctx, cancel := limit.make(t.Context())
						err := call(ctx)
						cancel()
						locktest.WantErr(t, err, limit.err, locker.ErrLocked)
						wantNot(t, err, locker.ErrUnavailable)
						wantBlocker(t, err, "holder")
					}
				})
			})
		}
	}
}

func TestATryTellsWhoHoldsTheLock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t, locker.WithOwner("holder"))
		locktest.Acquire(t, a, key)
		for _, l := range []*locker.Locker{a, b} {
			_, err := l.TryAcquire(t.Context(), key)
			locktest.WantErr(t, err, locker.ErrLocked)
			wantBlocker(t, err, "holder")
		}
	})
}

func TestAnAcquireThatEtcdDoesNotAnswerSaysSo(t *testing.T) {
	t.Parallel()
	for name, limit := range limits {
		for what, before := range map[string]func(t *testing.T, l *locker.Locker){
			"without a lease": func(*testing.T, *locker.Locker) {},
			"with a lease": func(t *testing.T, l *locker.Locker) {
				locktest.Release(t, locktest.Acquire(t, l, keyspace.MustParse("other")))
			},
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := lockertest.New(t)
					before(t, l)
					lockertest.Disconnect(l)
					ctx, cancel := limit.make(t.Context())
					defer cancel()
					_, err := l.Acquire(ctx, key)
					locktest.WantErr(t, err, limit.err, locker.ErrUnavailable)
					wantNot(t, err, locker.ErrLocked)
					wantBlocker(t, err, "")
					lockertest.Reconnect(l)
				})
			})
		}
	}
}

func TestAnyCallThatEtcdDoesNotAnswerSaysSo(t *testing.T) {
	t.Parallel()
	for name, limit := range limits {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := lockertest.New(t)
				h := locktest.Acquire(t, l, key)
				lockertest.Disconnect(l)
				for what, call := range map[string]func(context.Context) error{
					"Inspect": func(ctx context.Context) error { _, err := l.Inspect(ctx, key); return err },
					"List":    func(ctx context.Context) error { return listError(l.List(ctx, "")) },
					"Evict":   func(ctx context.Context) error { _, err := l.Evict(ctx, key); return err },
					"Release": h.Release,
				} {
					ctx, cancel := limit.make(t.Context())
					err := call(ctx)
					if !errors.Is(err, limit.err) || !errors.Is(err, locker.ErrUnavailable) {
						t.Errorf("%s: got error %v", what, err)
					}
					cancel()
				}
				_, err := l.Inspect(t.Context(), key)
				locktest.WantErr(t, err, locker.ErrUnavailable)
				wantNot(t, err, context.DeadlineExceeded)
				lockertest.Reconnect(l)
			})
		})
	}
}

func TestABadTTLIsABadOption(t *testing.T) {
	t.Parallel()
	l := lockertest.New(t)
	_, err := l.Acquire(t.Context(), key, locker.TTL(0))
	locktest.WantErr(t, err, locker.ErrInvalidTTL, locker.ErrInvalidOption)
	_, err = l.Acquire(t.Context(), key, locker.MaxHeld(-1))
	wantNot(t, err, locker.ErrInvalidTTL)
}
