package once_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
	"github.com/phpgao/elock/once"
)

func TestTheContextBoundsTheWait(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		over, cancel := context.WithCancel(t.Context())
		cancel()
		ran, err := once.Do(over, a, key, "1", never(t))
		want(t, false, ran, err, context.Canceled)
		var wg sync.WaitGroup
		wg.Go(func() {
			ran, err := once.Do(t.Context(), a, key, "1", within(time.Hour))
			want(t, true, ran, err)
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		ran, err = once.Do(ctx, b, key, "1", never(t))
		want(t, false, ran, err, context.DeadlineExceeded, locker.ErrLocked)
		ran, err = once.Do(t.Context(), b, key, "1", never(t), once.NoWait())
		want(t, false, ran, err, locker.ErrLocked)
		if took := time.Since(began); took > time.Minute+time.Second {
			t.Errorf("it took %v", took)
		}
		wg.Wait()
		ran, err = once.Do(t.Context(), b, key, "1", never(t), once.NoWait())
		want(t, false, ran, err)
		ran, err = once.Do(t.Context(), b, key, "2", nothing, once.NoWait())
		want(t, true, ran, err)
	})
}

func TestACallerThatGivesUpBeforeTheRunRunsNothing(t *testing.T) {
	for mode, opt := range map[string]once.Option{"retake": once.Retake(), "skip": once.Skip()} {
		t.Run(mode, func(t *testing.T) {
			locktest.Virtual(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				a := lockertest.New(t, locker.WithHook(&onHold{f: func(*locker.Locker) { cancel() }}))
				ran, err := once.Do(ctx, a, key, "1", never(t), opt)
				want(t, false, ran, err, context.Canceled)
				wantFree(t, a)
				if m := stored(t, a.Client()); m != "" {
					t.Errorf("the marker is %s", m)
				}
			})
		})
	}
}

func TestACallUnderItsOwnLockIsADeadlock(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a := lockertest.New(t)
		ran, err := once.Do(t.Context(), a, key, "1", func(ctx context.Context, _ *locker.Hold) error {
			ran, err := once.Do(ctx, a, key, "1", never(t))
			want(t, false, ran, err, locker.ErrDeadlock)
			return nil
		})
		want(t, true, ran, err)
	})
}

func TestARunThatReleasesItsOwnLockDoesNotMarkItsTick(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a := lockertest.New(t)
		ran, err := once.Do(t.Context(), a, key, "1", func(ctx context.Context, h *locker.Hold) error { return h.Release(ctx) })
		want(t, true, ran, err, locker.ErrReleased)
		wantRuns(t, a, "1")
		ran, err = once.Do(t.Context(), a, key, "2", func(ctx context.Context, h *locker.Hold) error { return h.Release(ctx) }, once.Skip())
		want(t, true, ran, err)
	})
}

func TestTheOptionsOfTheAcquireAreTheCallers(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		began := time.Now()
		die(t, a, "1", once.Acquiring(locker.TTL(3*time.Second)), once.Acquiring(locker.MaxHeld(time.Hour)))
		wantRuns(t, b, "1")
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("it took %v", took)
		}
		for _, o := range []locker.AcquireOption{locker.Shared(), locker.Slots(2)} {
			ran, err := once.Do(t.Context(), b, key, "2", never(t), once.Acquiring(o))
			want(t, false, ran, err, locker.ErrInvalidOption)
			wantFree(t, b)
		}
		ran, err := once.Do(t.Context(), b, key, "2", never(t), once.Acquiring(locker.TTL(-1)))
		want(t, false, ran, err, locker.ErrInvalidTTL)
	})
}

func TestBadInputIsRefusedBeforeAnythingIsSent(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a, f := lockertest.New(t), new(locktest.Tap)
		l := newTapped(t, a, f)
		do := func(l *locker.Locker, key keyspace.Key, tick string, fn fn, opts ...once.Option) func() error {
			return func() error {
				ran, err := once.Do(t.Context(), l, key, tick, fn, opts...)
				want(t, false, ran, err, locker.ErrInvalidOption)
				return err
			}
		}
		for name, row := range map[string]func() error{
			"nil Locker":           do(nil, key, "1", never(t)),
			"zero key":             do(l, keyspace.Key{}, "1", never(t)),
			"empty tick":           do(l, key, once.At(time.Now(), 0), never(t)),
			"long tick":            do(l, key, strings.Repeat("x", 257), never(t)),
			"tick that's not text": do(l, key, "\xff", never(t)),
			"nil function":         do(l, key, "1", nil),
			"nil option":           do(l, key, "1", never(t), nil),
			"forget: nil Locker":   func() error { return once.Forget(t.Context(), nil, key) },
			"forget: zero key":     func() error { return once.Forget(t.Context(), l, keyspace.Key{}) },
		} {
			err := row()
			wantErr(t, err, locker.ErrInvalidOption)
			var typed *locker.Error
			op, _, forget := strings.Cut(name, ":")
			if !forget {
				op = "once"
			}
			if !errors.As(err, &typed) || typed.Op != op {
				t.Errorf("%s: got %v", name, err)
			}
			if strings.Contains(name, "zero key") {
				wantErr(t, err, keyspace.ErrInvalid)
			}
		}
		if gets, txns := sent(f); gets+txns != 0 {
			t.Errorf("%d reads and %d transactions", gets, txns)
		}
		ran, err := once.Do(t.Context(), l, key, strings.Repeat("x", 256), nothing)
		want(t, true, ran, err)
		wantErr(t, l.Close())
		ran, err = once.Do(t.Context(), l, key, "y", never(t))
		want(t, false, ran, err, locker.ErrClosed)
		ran, err = once.Do(t.Context(), new(locker.Locker), key, "y", never(t))
		want(t, false, ran, err, locker.ErrInvalidOption)
	})
}

func TestTheMarkerIsNobodysValueOrLock(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a := lockertest.New(t)
		wantRuns(t, a, "1")
		if stored(t, a.Client()) == "" {
			t.Error("there is no marker at", path)
		}
		for _, name := range []string{"space/job", "space/job%once", "space/job/%once", "space/job%once/x", "space"} {
			k := keyspace.MustParse(name)
			v, err := guard.New(a, k, guard.Stored(guard.JSON[string]())).Update(t.Context(), func(_ context.Context, cur string) (string, error) {
				if cur != "" {
					t.Errorf("the value of %s is %s", name, cur)
				}
				return "mine", nil
			})
			if v != "mine" || err != nil {
				t.Errorf("got %q, %v", v, err)
			}
		}
		wantDone(t, a, "1")
		wantRuns(t, a, "2")
	})
}

func TestTheCallersMetadataIsNotSentToEtcd(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a, f := lockertest.New(t), new(locktest.Tap)
		b := newTapped(t, a, f)
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "mine")
		for i, opt := range []once.Option{once.Skip(), once.Retake()} {
			ran, err := once.Do(ctx, b, key, fmt.Sprint(i), nothing, opt)
			want(t, true, ran, err)
		}
		wantErr(t, once.Forget(ctx, b, key))
		for _, ctx := range f.Contexts() {
			if md, _ := metadata.FromOutgoingContext(ctx); len(md.Get("authorization")) > 0 {
				t.Fatal("it was sent")
			}
		}
		if len(f.Contexts()) < 8 {
			t.Errorf("only %d calls", len(f.Contexts()))
		}
	})
}
