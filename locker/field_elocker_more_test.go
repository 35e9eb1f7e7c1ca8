package locker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// (ELocker 6)
func TestACallbackThatPanicsLeavesNoLock(t *testing.T) {
	t.Parallel()
	b, _, client, prefix := newPair(t)
	a := beside(t, prefix, locker.WithSuccessCallback(func(string) { panic("oops") }))
	calls := map[string]func(){
		"Lock":          func() { _ = a.Lock(t.Context(), keyName, 15) },
		"RunFuncInLock": func() { _, _ = a.RunFuncInLock(t.Context(), keyName, 15, func() { t.Error("the function ran") }) },
		"Acquire":       func() { _, _ = a.Acquire(t.Context(), key) },
	}
	for name, do := range calls {
		if p := panicOf(do); p != "oops" {
			t.Errorf("%s: panic %v, want oops", name, p)
		}
		if left := keys(t, client, prefix); len(left) != 0 {
			t.Errorf("%s left %q", name, left)
		}
		wantErr(t, a.Unlock(t.Context(), keyName), locker.ErrNotHeld)
		lock(t, b, keyName)
		unlock(t, b, keyName)
	}
}

// panicOf runs f and returns the value it panics with.
func panicOf(f func()) (p any) {
	defer func() { p = recover() }()
	f()
	return nil
}

// (ELocker 6)
func TestTheRandomSleepEndsWithTheContext(t *testing.T) {
	t.Parallel()
	b, _, _, prefix := newPair(t)
	held := make(chan struct{}, 1)
	a := beside(t, prefix, locker.WithRandomSleep(time.Hour, time.Hour),
		locker.WithSuccessCallback(func(string) { held <- struct{}{} }))
	ctx, cancel := context.WithCancel(context.Background())
	result := async(t, func() error {
		_, err := a.RunFuncInLock(ctx, keyName, 15, func() { t.Error("the function ran") })
		return err
	})
	receive(t, held)
	cancel()
	wantErr(t, result(), context.Canceled)
	lock(t, b, keyName)
}

// (ELocker 7)
func TestRunFuncInLockTellsThatAnotherHeldTheLockMeanwhile(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	ran, err := a.RunFuncInLock(t.Context(), keyName, 15, func() {
		revokeLeases(t, client, prefix)
		lock(t, b, keyName)
	})
	wantLost(t, err, locker.LeaseExpired)
	if ran <= 0 {
		t.Errorf("ran %v, want how long the function ran", ran)
	}
	unlock(t, b, keyName)
}

// (ELocker 8)
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
	l := newLocker(t, faulty(s.Client(t), f), append(impatient(), locker.WithPrefix(s.Prefix(t)))...)
	err := l.RunInLock(t.Context(), key, func(ctx context.Context, h *locker.Hold) error {
		holds <- h
		wantErr(t, receive(t, deleted), locker.ErrMaxHeld)
		receive(t, ctx.Done())
		wantErr(t, context.Cause(ctx), locker.ErrMaxHeld)
		return nil
	}, locker.MaxHeld(50*time.Millisecond))
	wantErr(t, err, locker.ErrMaxHeld)
}

// (ELocker 8)
func TestAForcedUnlockThatFailsCallsBackOnceAndIsTriedOn(t *testing.T) {
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
	opts := append(impatient(), locker.WithPrefix(prefix), locker.WithHook(&timeoutCounter{n: &timeouts}),
		locker.WithTimeoutCallback(func(string, time.Duration) { callbacks.Add(1) }))
	a, b := newLocker(t, faulty(s.Client(t), f), opts...), newLocker(t, s.Client(t), locker.WithPrefix(prefix))
	lock(t, a, keyName)
	release(t, acquire(t, b, key)) // the tries take longer than a hundred ticks
	until(t, "the callback has run", func() bool { return callbacks.Load() > 0 })
	if c, h := callbacks.Load(), timeouts.Load(); c != 1 || h != 1 {
		t.Errorf("%d callbacks and %d timeouts for one lock", c, h)
	}
	wantErr(t, a.Unlock(t.Context(), keyName), locker.ErrMaxHeld)
}

var errNoAnswer = errors.New("test: no answer")

// timeoutCounter counts how often the monitor ends a hold.
type timeoutCounter struct {
	locker.NopHook
	n *atomic.Int64
}

func (c *timeoutCounter) TimeoutStart(ctx context.Context, _ locker.TimeoutStartData) context.Context {
	c.n.Add(1)
	return ctx
}

// (ELocker 9)
func TestCloseFreesTheLocksEndsItsGoroutinesAndSparesTheClient(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	client, prefix := s.Client(t), s.Prefix(t)
	b := beside(t, prefix)
	label := pprof.Labels("test", t.Name())
	pprof.Do(t.Context(), label, func(context.Context) { // goroutines inherit it
		l := newLocker(t, client, locker.WithPrefix(prefix))
		for _, ttl := range []int{60, 600} {
			if err := l.Lock(t.Context(), fmt.Sprint(ttl), ttl); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
	for _, name := range []string{"60", "600"} {
		lock(t, b, name)
	}
	if _, err := client.Get(t.Context(), prefix); err != nil {
		t.Errorf("the client after Close: %v", err)
	}
	until(t, "no goroutine of the Locker is left", func() bool {
		var b bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
			t.Fatal(err)
		}
		for record := range strings.SplitSeq(b.String(), "\n\n") {
			if strings.Contains(record, t.Name()) && strings.Contains(record, "elock/locker.") {
				return false
			}
		}
		return true
	})
}

// (ELocker 9)
func TestATickThatIsNotPositiveIsRefused(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{0, -time.Second} {
		l, err := locker.New(etcdtest.Start(t).Client(t), locker.WithMonitorTicks(d))
		wantErr(t, err, locker.ErrInvalidOption)
		wantErr(t, l.Lock(t.Context(), keyName, 15), locker.ErrInvalidOption)
	}
}

// (ELocker 10)
func TestAPrefixAndAKeyNeverMeetAnotherPrefixAndKey(t *testing.T) {
	t.Parallel()
	p := etcdtest.Start(t).Prefix(t)
	names := []struct{ prefix, key string }{
		{p, "k"}, {p, "q/k"}, {p + "/q", "k"}, {p + "/q", "k/q"}, {p, "q/k/q"}, {p + "/q/k", "q"}, {p + "/q:", "k"}, {p, "q:/k"},
	}
	for _, n := range names { // all of them are held together
		lock(t, beside(t, n.prefix), n.key)
		wantErr(t, beside(t, n.prefix).Lock(t.Context(), n.key, 15), locker.ErrLocked)
	}
}

// (ELocker 11)
func TestATTLIsNeverChangedSilently(t *testing.T) {
	t.Parallel()
	a, _, client, prefix := newPair(t)
	for _, ttl := range []int{0, -1} {
		wantErr(t, a.Lock(t.Context(), keyName, ttl), locker.ErrInvalidTTL)
	}
	for _, ttl := range []int{1, 7} {
		var log lines
		l := beside(t, prefix, log.option())
		if err := l.Lock(t.Context(), keyName, ttl); err != nil {
			t.Fatal(err)
		}
		granted := grantedTTL(t, client, prefix)
		unlock(t, l, keyName)
		said := strings.Contains(log.String(), fmt.Sprintf("asked=%d granted=%d", ttl, granted))
		if changed := granted != int64(ttl); said != changed {
			t.Errorf("TTL %d: etcd granted %d, and the log says: %q", ttl, granted, &log)
		}
	}
}

// grantedTTL returns the TTL of the only lock under prefix.
func grantedTTL(tb testing.TB, client *clientv3.Client, prefix string) int64 {
	tb.Helper()
	locks, err := client.Get(tb.Context(), "/"+prefix, clientv3.WithPrefix())
	if err != nil || len(locks.Kvs) != 1 {
		tb.Fatalf("locks: %v, %v", locks, err)
	}
	lease, err := client.TimeToLive(tb.Context(), clientv3.LeaseID(locks.Kvs[0].Lease))
	if err != nil {
		tb.Fatal(err)
	}
	return lease.GrantedTTL
}

// (ELocker 12)
func TestEveryErrorCanBeMatched(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix := s.Prefix(t)
	var denied sync.Map // kinds of calls that etcd denies
	f := &faults{before: func(_ context.Context, c call) error {
		if _, no := denied.Load(c.kind); no {
			return rpctypes.ErrPermissionDenied
		}
		return nil
	}}
	a, b := newLocker(t, faulty(s.Client(t), f), locker.WithPrefix(prefix)), newLocker(t, s.Client(t), locker.WithPrefix(prefix))
	lock(t, b, "held")
	late, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	mine := errors.New("mine")
	caused, stop := context.WithCancelCause(t.Context())
	stop(mine)
	closed := newLocker(t, s.Client(t))
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}

	rows := []struct {
		op, key string
		do      func() error
		want    []error
	}{
		{"lock", "held", func() error { return a.Lock(t.Context(), "held", 15) }, []error{locker.ErrLocked}},
		{"run", "held", func() error { _, err := a.RunFuncInLock(t.Context(), "held", 15, func() {}); return err }, []error{locker.ErrLocked}},
		{"unlock", "none", func() error { return a.Unlock(t.Context(), "none") }, []error{locker.ErrNotHeld}},
		{"lock", "k", func() error { return a.Lock(t.Context(), "k", 0) }, []error{locker.ErrInvalidTTL}},
		{"lock", "", func() error { return a.Lock(t.Context(), "", 15) }, []error{keyspace.ErrInvalid}},
		{"lock", "k", func() error { return a.Lock(late, "k", 15) }, []error{context.DeadlineExceeded}},
		{"lock", "k", func() error { return a.Lock(caused, "k", 15) }, []error{context.Canceled, mine}},
		{"lock", "k", func() error { return closed.Lock(t.Context(), "k", 15) }, []error{locker.ErrClosed}},
		{"lock", "k", func() error {
			denied.Store("try", true)
			defer denied.Delete("try")
			return a.Lock(t.Context(), "k", 15)
		}, []error{rpctypes.ErrPermissionDenied}},
		{"unlock", "k", func() error {
			lock(t, a, "k")
			denied.Store("delete", true)
			defer denied.Delete("delete")
			return a.Unlock(t.Context(), "k")
		}, []error{rpctypes.ErrPermissionDenied}},
	}
	for _, r := range rows {
		err := r.do()
		wantErr(t, err, r.want...)
		var e *locker.Error
		if !errors.As(err, &e) || e.Op != r.op || e.Key != r.key {
			t.Errorf("got %#v, want an Error of %s %q", err, r.op, r.key)
		}
		if strings.Count(err.Error(), "elock:") != 1 {
			t.Errorf("the error was wrapped more than once: %v", err)
		}
	}
}
