package elock_test

import (
	"bytes"
	"context"
	"errors"
	"log"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock"
	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// The front door's types are those of package locker, and its functions have
// the signatures that the original documents.
var (
	_ *locker.Locker = (*elock.ELocker)(nil)
	_ locker.Option  = elock.Opt(nil)
	_ locker.Job     = elock.Job(nil)

	_ func(*clientv3.Client, ...elock.Opt) *elock.ELocker = elock.NewELocker
	_ func(time.Duration) elock.Opt                       = elock.WithMaxHeldTime
	_ func(time.Duration) elock.Opt                       = elock.WithMonitorTicks
	_ func(func(string, time.Duration)) elock.Opt         = elock.WithTimeoutCallback
	_ func(_, _ time.Duration) elock.Opt                  = elock.WithRandomSleep
	_ func(string) elock.Opt                              = elock.WithPrefix
	_ func(func(string)) elock.Opt                        = elock.WithSuccessCallback

	_ interface {
		Lock(ctx context.Context, key string, ttl int) error
		Unlock(ctx context.Context, key string) error
		RunFuncInLock(ctx context.Context, key string, ttl int, fn func()) (time.Duration, error)
		RunJobInLock(ctx context.Context, key string, ttl int, job elock.Job) (time.Duration, error)
		Close() error
	} = (*elock.ELocker)(nil)
)

// start returns a client, and an option that keeps the test to itself.
func start(t *testing.T) (*clientv3.Client, elock.Opt) {
	t.Helper()
	s := etcdtest.Start(t)
	return s.Client(t), elock.WithPrefix(s.Prefix(t))
}

func closing(t *testing.T, l *elock.ELocker) *elock.ELocker {
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return l
}

// The program of the original documentation, but for its address.
func TestTheDocumentedProgramRuns(t *testing.T) {
	t.Parallel()
	endpoint, prefix := etcdtest.Start(t).Endpoints()[0], etcdtest.Start(t).Prefix(t)

	client, err := clientv3.NewFromURL(endpoint)
	if err != nil {
		panic(err)
	}
	defer client.Close()

	locker := elock.NewELocker(client, elock.WithPrefix(prefix))

	err = locker.Lock(context.Background(), "my-key", 10)
	if err != nil {
		panic(err)
	}

	err = locker.Unlock(context.Background(), "my-key")
	if err != nil {
		panic(err)
	}

	if err := locker.Close(); err != nil { // the original's program leaves that to the end of the process
		t.Fatal(err)
	}
	if _, err := client.Get(t.Context(), "my-key"); err != nil {
		t.Errorf("the client after Close: %v", err)
	}
}

type countJob struct{ runs atomic.Int32 }

func (j *countJob) Run() { j.runs.Add(1) }

// The second program of the original documentation.
func TestTheDocumentedJobRuns(t *testing.T) {
	t.Parallel()
	client, prefix := start(t)
	elocker, myJob := closing(t, elock.NewELocker(client, prefix)), new(countJob)
	var out bytes.Buffer
	log := log.New(&out, "", 0)

	duration, err := elocker.RunJobInLock(context.Background(), "resource-key", 10, myJob)
	if err != nil {
		log.Printf("Error acquiring lock: %s", err)
	}
	log.Printf("Job ran for %s", duration)

	if n := myJob.runs.Load(); n != 1 || duration <= 0 || !strings.HasPrefix(out.String(), "Job ran for ") {
		t.Errorf("%d runs in %v; the log says %q", n, duration, &out)
	}
}

func TestEachOptionReachesTheLocker(t *testing.T) {
	t.Parallel()
	client, prefix := start(t)
	acquired, ended := make(chan string, 1), make(chan string, 1)
	l := closing(t, elock.NewELocker(client, prefix,
		elock.WithMaxHeldTime(20*time.Millisecond),
		elock.WithMonitorTicks(time.Millisecond),
		elock.WithRandomSleep(time.Hour, time.Hour),
		elock.WithSuccessCallback(func(key string) { acquired <- key }),
		elock.WithTimeoutCallback(func(key string, held time.Duration) {
			if held <= 20*time.Millisecond {
				t.Errorf("held %v", held)
			}
			ended <- key
		})))
	// It sleeps until the monitor ends it.
	_, err := l.RunFuncInLock(t.Context(), "k", 10, func() { t.Error("the function ran") })
	if !errors.Is(err, locker.ErrMaxHeld) {
		t.Errorf("got error %v, want %v", err, locker.ErrMaxHeld)
	}
	for what, c := range map[string]chan string{"success": acquired, "timeout": ended} {
		select {
		case key := <-c:
			if key != "k" {
				t.Errorf("%s callback of %q", what, key)
			}
		case <-time.After(30 * time.Second):
			t.Errorf("no %s callback", what)
		}
	}
}

func TestTheFrontDoorAndTheOtherPackagesShareLocks(t *testing.T) {
	t.Parallel()
	client, prefix := start(t)
	l := closing(t, elock.NewELocker(client, prefix))
	other, err := locker.New(client, prefix, locker.WithTTL(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	closing(t, other)
	if err := l.Lock(t.Context(), "billing/42", 10); err != nil {
		t.Fatal(err)
	}
	if _, err := other.TryAcquire(t.Context(), keyspace.MustParse("billing/42")); !errors.Is(err, locker.ErrLocked) {
		t.Errorf("got error %v, want %v", err, locker.ErrLocked)
	}
}

func TestABadOptionComesBackFromEveryCall(t *testing.T) {
	t.Parallel()
	client, _ := start(t)
	lockers := map[string]*elock.ELocker{
		"nil client":     elock.NewELocker(nil),
		"nil option":     elock.NewELocker(client, nil),
		"prefix":         elock.NewELocker(client, elock.WithPrefix("")),
		"tick":           elock.NewELocker(client, elock.WithMonitorTicks(0)),
		"max held time":  elock.NewELocker(client, elock.WithMaxHeldTime(-time.Second)),
		"sleep":          elock.NewELocker(client, elock.WithRandomSleep(-time.Second, time.Second)),
		"one among good": elock.NewELocker(client, elock.WithPrefix("p"), elock.WithMonitorTicks(-1), elock.WithPrefix("q")),
	}
	ctx, key := context.Background(), keyspace.MustParse("k")
	for name, l := range lockers {
		var errs []error
		add := func(_ any, err error) { errs = append(errs, err) }
		add(nil, l.Lock(ctx, "k", 10))
		add(nil, l.Unlock(ctx, "k"))
		add(l.RunFuncInLock(ctx, "k", 10, func() { t.Error("ran") }))
		add(l.RunJobInLock(ctx, "k", 10, new(countJob)))
		add(l.Acquire(ctx, key))
		add(l.TryAcquire(ctx, key))
		add(nil, l.RunInLock(ctx, key, func(context.Context, *locker.Hold) error { return nil }))
		add(l.Inspect(ctx, key))
		add(l.Evict(ctx, key))
		add(nil, l.Shutdown(ctx))
		add(nil, l.Close())
		for i, err := range errs {
			if !errors.Is(err, locker.ErrInvalidOption) {
				t.Errorf("%s, call %d: got error %v, want %v", name, i, err, locker.ErrInvalidOption)
			}
		}
	}
}
