package locker_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// untilRetained waits until the lock of key is with l, and etcd has heard so.
func untilRetained(tb testing.TB, l *locker.Locker, n *counter) {
	tb.Helper()
	locktest.Release(tb, locktest.Acquire(tb, l, key))
	locktest.Until(tb, "the lock is retained", func() bool {
		before := n.calls.Load()
		locktest.Release(tb, locktest.Acquire(tb, l, key))
		return n.calls.Load() == before
	})
}

func newRetaining(t *testing.T, s *etcdtest.Server, prefix string, d time.Duration, opts ...locker.Option) (*locker.Locker, *counter) {
	n := new(counter)
	opts = append([]locker.Option{locker.WithPrefix(prefix), locker.WithRetain(d)}, opts...)
	return newLocker(t, faulty(s.Client(t), &faults{after: n.after}), opts...), n
}

func TestARetainedLockIsAcquiredAndReleasedWithoutACall(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	l, n := newRetaining(t, s, s.Prefix(t), time.Hour, locker.WithTTL(time.Hour))
	untilRetained(t, l, n)
	before := n.calls.Load()
	var last locker.Token
	for range 1000 {
		h := locktest.Acquire(t, l, key)
		if h.Token() <= last {
			t.Fatalf("token %d after %d", h.Token(), last)
		}
		last = h.Token()
		locktest.Release(t, h)
	}
	if d := n.calls.Load() - before; d > 2 { // the watch of the loss watcher
		t.Errorf("%d calls", d)
	}
}

func TestARetainedLockIsGivenUpWhenAnotherProcessWantsIt(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix := s.Prefix(t)
	a, n := newRetaining(t, s, prefix, time.Hour)
	b := newLocker(t, s.Client(t), locker.WithPrefix(prefix))
	for range 5 {
		untilRetained(t, a, n)
		began := time.Now()
		h := locktest.Acquire(t, b, key)
		if d := time.Since(began); d > 2*time.Second { // a notice and two commits, on a busy machine
			t.Errorf("it waited %v", d)
		}
		locktest.WantErr(t, func() error { _, err := a.TryAcquire(t.Context(), key); return err }(), locker.ErrLocked)
		locktest.Release(t, h)
	}
}

func TestATryGetsALockThatIsOnlyRetained(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix := s.Prefix(t)
	a, n := newRetaining(t, s, prefix, time.Hour)
	b := newLocker(t, s.Client(t), locker.WithPrefix(prefix))
	untilRetained(t, a, n)
	h, err := b.TryAcquire(t.Context(), key)
	locktest.Must(t, err)
	locktest.Release(t, h)
	untilRetained(t, a, n)
	held := locktest.Acquire(t, a, key)
	_, err = b.TryAcquire(t.Context(), key)
	locktest.WantErr(t, err, locker.ErrLocked)
	locktest.Must(t, held.Err())
	locktest.Release(t, held)
	locktest.Until(t, "a failing try has left the queue", func() bool {
		h, err := b.TryAcquire(t.Context(), key)
		if err == nil {
			locktest.Release(t, h)
		}
		return err == nil
	})
}

func TestARetainedLockIsGivenUpInTimeAndByShutdown(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix, client := s.Prefix(t), s.Client(t)
	nothing := func() bool { return len(keys(t, client, prefix)) == 0 }
	a, n := newRetaining(t, s, prefix, 200*time.Millisecond)
	untilRetained(t, a, n)
	locktest.Until(t, "it is given up", nothing)
	b, n := newRetaining(t, s, prefix, time.Hour)
	untilRetained(t, b, n)
	locktest.Must(t, b.Shutdown(t.Context()))
	if !nothing() {
		t.Errorf("left %v", keys(t, client, prefix))
	}
}

func TestALockRetainedByAProcessThatDiedIsFreeAfterItsTTL(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix := s.Prefix(t)
	proxy := etcdtest.Proxy(t, s.Endpoints()[0])
	dead := proxy.Client(t)
	n := new(counter)
	a, err := locker.New(faulty(dead, &faults{after: n.after}), locker.WithPrefix(prefix), locker.WithRetain(time.Hour), locker.WithTTL(2*time.Second))
	locktest.Must(t, err)
	untilRetained(t, a, n)
	proxy.Cut(t)
	b := newLocker(t, s.Client(t), locker.WithPrefix(prefix))
	began := time.Now()
	locktest.Release(t, locktest.Acquire(t, b, key))
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("it took %v", d)
	}
	_ = a.Close() // etcd cannot be reached
}

func TestAnEvictionOfARetainedLockIsNotMissed(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix := s.Prefix(t)
	a, n := newRetaining(t, s, prefix, time.Hour)
	b := newLocker(t, s.Client(t), locker.WithPrefix(prefix))
	untilRetained(t, a, n)
	gone, err := b.Evict(t.Context(), key)
	if err != nil || !gone {
		t.Fatal(gone, err)
	}
	h := locktest.Acquire(t, b, key)
	_, err = a.TryAcquire(t.Context(), key)
	if !errors.Is(err, locker.ErrLocked) {
		// The notice may be on its way: the hold ends by itself then.
		locktest.Until(t, "it is free for its rival", func() bool { return h.Err() == nil })
	}
	locktest.Release(t, h)
}

func TestARetainedLockIsNotUsedForAnotherTTL(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	l, n := newRetaining(t, s, s.Prefix(t), time.Hour, locker.WithTTL(time.Minute))
	untilRetained(t, l, n)
	h := locktest.Acquire(t, l, key, locker.TTL(time.Hour))
	if h.Remaining() < 30*time.Minute {
		t.Errorf("%v remaining", h.Remaining())
	}
	locktest.Release(t, h)
}

func TestProcessesWithDifferentOptionsExcludeEachOther(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix := s.Prefix(t)
	kinds := [][]locker.Option{
		{locker.WithRetain(time.Second)},
		{locker.WithHandoff(0), locker.WithRetain(50 * time.Millisecond)},
		{locker.WithHandoff(0), locker.WithoutBatching()},
		{},
	}
	space := keyspace.MustNew[int]("mixed")
	const rounds = 40
	var counts [3]int // without a lock of their own: the race detector looks, too
	var wg sync.WaitGroup
	for _, opts := range kinds {
		l := newLocker(t, s.Client(t), append(opts, locker.WithPrefix(prefix))...)
		for range 3 {
			wg.Go(func() {
				for i := range rounds {
					k := i % len(counts)
					err := l.RunInLock(t.Context(), space.Key(k), func(context.Context, *locker.Hold) error {
						counts[k]++
						return nil
					})
					locktest.Must(t, err)
				}
			})
		}
	}
	wg.Wait()
	if n := counts[0] + counts[1] + counts[2]; n != len(kinds)*3*rounds {
		t.Errorf("%d of %d counted", n, len(kinds)*3*rounds)
	}
}

// A breakable ends the watches of a client on demand.
type breakable struct {
	clientv3.Watcher
	mu    sync.Mutex
	stops []context.CancelFunc
}

func (w *breakable) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	ctx, cancel := context.WithCancel(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stops = append(w.stops, cancel)
	return w.Watcher.Watch(ctx, key, opts...)
}

func (w *breakable) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, stop := range w.stops {
		stop()
	}
	w.stops = nil
}

func TestAProcessThatQueuesWhileTheWatchIsReplacedGetsARetainedLock(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix := s.Prefix(t)
	var n counter
	var gate atomic.Pointer[chan struct{}]
	var replaced atomic.Bool
	client := faulty(s.Client(t), &faults{before: func(_ context.Context, c call) error {
		if g := gate.Load(); c.kind == "watch" && g != nil {
			replaced.Store(true)
			<-*g
		}
		return nil
	}, after: n.after})
	watches := &breakable{Watcher: client.Watcher}
	client.Watcher = watches
	a := newLocker(t, client, locker.WithPrefix(prefix), locker.WithRetain(time.Hour))
	b := newLocker(t, s.Client(t), locker.WithPrefix(prefix))
	untilRetained(t, a, &n)
	held := locktest.Acquire(t, a, key) // else it would be given up while nothing watches
	g := make(chan struct{})
	gate.Store(&g)
	watches.stop()
	locktest.Until(t, "the watch is being replaced", replaced.Load)
	rival := acquiring(t.Context(), b, key)
	locktest.UntilQueued(t, b, key, 2)
	gate.Store(nil)
	close(g)
	locktest.Release(t, held)
	o := locktest.Receive(t, rival)
	locktest.Must(t, o.err)
	locktest.Release(t, o.h)
}

func TestATryRightAfterTheReleaseGetsALockThatIsRetained(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix := s.Prefix(t)
	a, _ := newRetaining(t, s, prefix, time.Hour)
	b := newLocker(t, s.Client(t), locker.WithPrefix(prefix))
	for range 10 {
		locktest.Release(t, locktest.Acquire(t, a, key))
		h, err := b.TryAcquire(t.Context(), key)
		locktest.Must(t, err)
		locktest.Release(t, h)
	}
}
