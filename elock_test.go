package elock_test

import (
	"bytes"
	"context"
	"errors"
	"log"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock"
	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// The functions have the signatures that the original documents, or has.
var (
	_ func(*clientv3.Client, ...elock.Opt) *elock.ELocker = elock.NewELocker
	_ func(*clientv3.Client, ...elock.Opt) *elock.ELocker = elock.GetELockerInstance
	_ func(time.Duration) elock.Opt                       = elock.WithMaxHeldTime
	_ func(time.Duration) elock.Opt                       = elock.WithMonitorTicks
	_ func(func(string, time.Duration)) elock.Opt         = elock.WithTimeoutCallback
	_ func(_, _ time.Duration) elock.Opt                  = elock.WithRandomSleep
	_ func(string) elock.Opt                              = elock.WithPrefix
	_ func(func(string)) elock.Opt                        = elock.WithSuccessCallback

	_ func(ctx context.Context, key string, ttl int, fn func()) (time.Duration, error)     = elock.RunFuncInLock
	_ func(ctx context.Context, key string, ttl int, job elock.Job) (time.Duration, error) = elock.RunJobInLock

	_ interface {
		Lock(ctx context.Context, key string, ttl int) error
		Unlock(ctx context.Context, key string) error
		RunFuncInLock(ctx context.Context, key string, ttl int, fn func()) (time.Duration, error)
		RunJobInLock(ctx context.Context, key string, ttl int, job elock.Job) (time.Duration, error)
		Close() error
	} = (*elock.ELocker)(nil)
)

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
	_, _, client, prefix := newPair(t)
	elocker, myJob := locktest.Closing(t, elock.NewELocker(client, elock.WithPrefix(prefix))), new(countJob)
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
	_, _, _, prefix := newPair(t)
	acquired, ended := make(chan string, 1), make(chan string, 1)
	l := beside(t, prefix,
		elock.WithMaxHeldTime(20*time.Millisecond),
		elock.WithMonitorTicks(time.Millisecond),
		elock.WithRandomSleep(time.Hour, time.Hour),
		elock.WithSuccessCallback(func(key string) { acquired <- key }),
		elock.WithTimeoutCallback(func(key string, held time.Duration) {
			if held <= 20*time.Millisecond {
				t.Errorf("held %v", held)
			}
			ended <- key
		}))
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

func TestTheELockerAndTheOtherPackagesShareLocks(t *testing.T) {
	t.Parallel()
	l, _, client, prefix := newPair(t)
	other, err := locker.New(client, locker.WithPrefix(prefix), locker.WithTTL(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	locktest.Closing(t, other)
	if err := l.Lock(t.Context(), "billing/42", 10); err != nil {
		t.Fatal(err)
	}
	for _, l := range []*locker.Locker{other, l.Locker()} {
		if _, err := l.TryAcquire(t.Context(), keyspace.MustParse("billing/42")); !errors.Is(err, locker.ErrLocked) {
			t.Errorf("got error %v, want %v", err, locker.ErrLocked)
		}
	}
}

func TestOptionsOfPackageLockerReachTheLocker(t *testing.T) {
	t.Parallel()
	l, _, _, _ := newPair(t, elock.WithLockerOptions(locker.WithOwner("me"), locker.WithTTL(time.Minute)),
		elock.WithLockerOptions(locker.WithRetain(0)))
	lock(t, l, keyName)
	q, err := l.Locker().Inspect(t.Context(), key)
	if err != nil || len(q.Holders) != 1 || q.Holders[0].Name != "me" {
		t.Errorf("holders %+v, %v", q.Holders, err)
	}
}

func TestALockIsHeldForAnHourUnlessAnOptionSaysOtherwise(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := lockertest.New(t)
		limited, unlimited := newELocker(t, lockertest.Client(l)), newELocker(t, lockertest.Client(l), elock.WithMaxHeldTime(0))
		lock(t, limited, "limited")
		lock(t, unlimited, "unlimited")
		time.Sleep(time.Hour)
		locktest.WantErr(t, limited.Lock(t.Context(), "limited", 15), locker.ErrLocked)
		time.Sleep(2 * locker.DefaultMonitorTicks)
		locktest.WantErr(t, limited.Unlock(t.Context(), "limited"), locker.ErrMaxHeld)
		unlock(t, unlimited, "unlimited")
	})
}
