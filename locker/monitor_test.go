package locker_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// The race detector sees a monitor that reads what others write.
func TestTheMonitorMayLookWhileLocksComeAndGo(t *testing.T) {
	t.Parallel()
	l, _, _, _ := newPair(t, locker.WithMonitorTicks(50*time.Microsecond))
	names := keyspace.MustNew[int]("n")
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 25 {
				h, err := l.Acquire(t.Context(), names.Key(25*g+i))
				if err != nil {
					t.Error(err)
				}
				if err := h.Release(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestALockHeldTooLongIsFreedAlsoWithoutACallback(t *testing.T) {
	t.Parallel()
	b, _, _, prefix := newPair(t)
	a := beside(t, prefix, locktest.Impatient()...)
	h := locktest.Acquire(t, a, key)
	locktest.Release(t, locktest.Acquire(t, b, key))
	locktest.WantErr(t, h.Release(t.Context()), locker.ErrMaxHeld)
}

func TestTheMonitorTellsTheWorkBeforeItFreesTheLock(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	holds := make(chan *locker.Hold, 1)
	deleted := make(chan error, 1)
	var first sync.Once
	f := &faults{before: func(_ context.Context, c call) error {
		if c.kind == "delete" {
			first.Do(func() { deleted <- context.Cause((<-holds).Context()) })
		}
		return nil
	}}
	l := newLocker(t, faulty(s.Client(t), f), append(locktest.Impatient(), locker.WithPrefix(s.Prefix(t)))...)
	err := l.RunInLock(t.Context(), key, func(ctx context.Context, h *locker.Hold) error {
		holds <- h
		locktest.WantErr(t, locktest.Receive(t, deleted), locker.ErrMaxHeld)
		locktest.Receive(t, ctx.Done())
		locktest.WantErr(t, context.Cause(ctx), locker.ErrMaxHeld)
		return nil
	}, locker.MaxHeld(50*time.Millisecond))
	locktest.WantErr(t, err, locker.ErrMaxHeld)
}

func TestAForcedReleaseThatFailsCallsBackOnceAndIsTriedOn(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix := s.Prefix(t)
	var deletes, callbacks, timeouts atomic.Int64
	f := &faults{before: func(_ context.Context, c call) error {
		if c.kind == "delete" && deletes.Add(1) <= 4 {
			return errNoAnswer
		}
		return nil
	}}
	opts := append(locktest.Impatient(), locker.WithPrefix(prefix), locker.WithHook(&timeoutCounter{n: &timeouts}),
		locker.WithTimeoutCallback(func(string, time.Duration) { callbacks.Add(1) }))
	a, b := newLocker(t, faulty(s.Client(t), f), opts...), newLocker(t, s.Client(t), locker.WithPrefix(prefix))
	h := locktest.Acquire(t, a, key)
	locktest.Release(t, locktest.Acquire(t, b, key)) // the tries take longer than a hundred ticks
	locktest.Until(t, "the callback has run", func() bool { return callbacks.Load() > 0 })
	if c, h := callbacks.Load(), timeouts.Load(); c != 1 || h != 1 {
		t.Errorf("%d callbacks and %d timeouts for one lock", c, h)
	}
	locktest.WantErr(t, h.Release(t.Context()), locker.ErrMaxHeld)
}

// timeoutCounter counts how often the monitor ends a hold.
type timeoutCounter struct {
	locker.NopHook
	n *atomic.Int64
}

func (c *timeoutCounter) TimeoutStart(ctx context.Context, _ locker.TimeoutStartData) context.Context {
	c.n.Add(1)
	return ctx
}

func TestTheTimeoutCallbackGetsTheNameAndTheTimeHeld(t *testing.T) {
	t.Parallel()
	type timeout struct {
		name string
		held time.Duration
	}
	const limit = 30 * time.Millisecond
	timeouts := make(chan timeout, 10)
	began := time.Now()
	a, _, client, prefix := newPair(t, locker.WithMaxHeldTime(limit), locker.WithMonitorTicks(time.Millisecond),
		locker.WithTimeoutCallback(func(name string, held time.Duration) { timeouts <- timeout{name, held} }))
	h := locktest.Acquire(t, a, key)
	got := locktest.Receive(t, timeouts)
	if got.name != key.String() || got.held <= limit || got.held > time.Since(began) {
		t.Errorf("callback with %q, %v; want %v, more than %v, at most %v", got.name, got.held, key, limit, time.Since(began))
	}
	if left := keys(t, client, prefix); len(left) != 0 {
		t.Errorf("called back before the lock was free: %q", left)
	}
	locktest.WantErr(t, h.Release(t.Context()), locker.ErrMaxHeld)
}

func TestATimeoutCallbackThatHangsOrPanicsCostsNoLock(t *testing.T) {
	t.Parallel()
	var log locktest.Log
	hang := make(chan struct{})
	other := make(chan string, 1)
	a, _, _, _ := newPair(t, append(locktest.Impatient(), log.Option(), locker.WithTimeoutCallback(func(name string, _ time.Duration) {
		switch name {
		case "hangs":
			<-hang
		case "panics":
			panic("oops")
		default:
			other <- name
		}
	}))...)
	defer close(hang)
	kept, err := a.Acquire(t.Context(), key, locker.MaxHeld(0))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"hangs", "panics", "other"} {
		locktest.Acquire(t, a, keyspace.MustParse(name))
	}
	if name := locktest.Receive(t, other); name != "other" {
		t.Errorf("callback of %q", name)
	}
	locktest.Until(t, "all is logged", func() bool {
		return strings.Contains(log.String(), "panicked") && strings.Count(log.String(), "held too long") == 3
	})
	for _, want := range []string{"level=ERROR", "key=panics", "panic=oops", "monitor_test.go"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in the log: %s", want, &log)
		}
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
		t.Errorf("%d errors in the log, want 1: %s", n, &log)
	}
	locktest.WantErr(t, kept.Err(), nil)
	locktest.Release(t, kept)
	for _, name := range []string{"hangs", "panics", "other"} {
		locktest.UntilAcquired(t, a, keyspace.MustParse(name))
	}
}

func TestTheMonitorSparesLocksWithoutALimitAndThoseItHasNotLookedAt(t *testing.T) {
	t.Parallel()
	_, _, _, prefix := newPair(t)
	unlimited := beside(t, prefix, locker.WithMaxHeldTime(time.Millisecond), locker.WithMaxHeldTime(0), locker.WithMonitorTicks(time.Millisecond))
	seldom := beside(t, prefix, locker.WithMaxHeldTime(time.Millisecond), locker.WithMonitorTicks(time.Hour))
	defaults := beside(t, prefix, locker.WithMonitorTicks(time.Millisecond))
	soon := beside(t, prefix, locktest.Impatient()...)
	spared := []*locker.Hold{
		locktest.Acquire(t, unlimited, keyspace.MustParse("unlimited")),
		locktest.Acquire(t, seldom, keyspace.MustParse("seldom")),
		locktest.Acquire(t, defaults, keyspace.MustParse("defaults")),
	}
	for range 5 { // younger locks come and go
		locktest.UntilAcquired(t, soon, key)
	}
	for _, h := range spared {
		locktest.Release(t, h)
	}
}

func TestCallbacksMayCallTheLocker(t *testing.T) {
	t.Parallel()
	_, _, _, prefix := newPair(t)
	t.Run("on success", func(t *testing.T) {
		errs := make(chan error, 2)
		var l *locker.Locker
		var called atomic.Bool
		l = beside(t, prefix, locker.WithSuccessCallback(func(name string) {
			if called.CompareAndSwap(false, true) {
				errs <- locktest.Second(l.TryAcquire(t.Context(), keyspace.MustParse("other")))
				errs <- locktest.Second(l.TryAcquire(t.Context(), keyspace.MustParse(name)))
			}
		}))
		done := locktest.Async(t, func() error { return locktest.Second(l.Acquire(t.Context(), key)) })
		for _, want := range []error{nil, locker.ErrLocked} {
			locktest.WantErr(t, locktest.Receive(t, errs), want)
		}
		locktest.WantErr(t, done(), nil)
	})
	t.Run("on timeout", func(t *testing.T) {
		errs := make(chan error, 2)
		var l *locker.Locker
		var called atomic.Bool
		l = beside(t, prefix, append(locktest.Impatient(), locker.WithTimeoutCallback(func(name string, _ time.Duration) {
			if called.CompareAndSwap(false, true) {
				errs <- locktest.Second(l.TryAcquire(t.Context(), keyspace.MustParse("other")))
				errs <- locktest.Second(l.TryAcquire(t.Context(), keyspace.MustParse(name)))
			}
		}))...)
		locktest.Acquire(t, l, key)
		for _, want := range []error{nil, nil} {
			locktest.WantErr(t, locktest.Receive(t, errs), want)
		}
	})
}
