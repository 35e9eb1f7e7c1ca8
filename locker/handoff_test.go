package locker_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
)

// queueUp has n goroutines wait for key, in their order, and returns a function
// that waits until each has held it, and returns their tokens.
func queueUp(t *testing.T, l *locker.Locker, order *blockedOrder, n int, work func(*locker.Hold)) func() []locker.Token {
	t.Helper()
	var mu sync.Mutex
	var tokens []locker.Token
	var wg sync.WaitGroup
	before := int(order.n.Load())
	for i := range n {
		wg.Go(func() {
			h := locktest.Acquire(t, l, key)
			mu.Lock()
			tokens = append(tokens, h.Token())
			mu.Unlock()
			work(h)
			locktest.Release(t, h)
		})
		locktest.Until(t, "it waits", func() bool { return int(order.n.Load()) == before+i+1 })
	}
	return func() []locker.Token { wg.Wait(); return tokens }
}

func TestTokensGrowFromHandToHand(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	var n counter
	order := &blockedOrder{}
	l := newLocker(t, faulty(s.Client(t), &faults{after: n.after}), locker.WithPrefix(s.Prefix(t)), locker.WithHook(order),
		locker.WithHandoff(100*time.Millisecond))
	held := locktest.Acquire(t, l, key)
	tokens := queueUp(t, l, order, 20, func(*locker.Hold) {})
	before := n.writes.Load()
	locktest.Release(t, held)
	got := append([]locker.Token{held.Token()}, tokens()...)
	if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != 21 {
		t.Errorf("tokens %v", got)
	}
	if w := n.writes.Load() - before; w > 10 { // two if nobody disturbs; the time of a term is real
		t.Errorf("%d writes for 20 locks handed on", w)
	}
}

func TestWithoutHandoffAProcessReleasesAndQueuesAgainInOneWrite(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	var n counter
	order := &blockedOrder{}
	l := newLocker(t, faulty(s.Client(t), &faults{after: n.after}), locker.WithPrefix(s.Prefix(t)), locker.WithHook(order),
		locker.WithHandoff(0))
	held := locktest.Acquire(t, l, key)
	tokens := queueUp(t, l, order, 10, func(*locker.Hold) {})
	before := n.writes.Load()
	locktest.Release(t, held)
	got := tokens()
	if w := n.writes.Load() - before; w != 11 {
		t.Errorf("%d writes for 11 releases and 10 acquires", w)
	}
	if !slices.IsSorted(got) {
		t.Errorf("tokens %v", got)
	}
}

func TestAProcessThatHandsALockOnLetsOthersHaveTheirTurn(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if h, err := a.Acquire(ctx, key); err == nil {
					locktest.Release(t, h)
				}
			}
		})
	}
	for range 10 {
		began := time.Now()
		locktest.Release(t, locktest.Acquire(t, b, key))
		if d := time.Since(began); d > 3*time.Second { // 10ms and some commits, on a busy machine
			t.Errorf("it waited %v", d)
		}
	}
	cancel()
	wg.Wait()
}

func TestALockDoesNotPassUnderAFence(t *testing.T) {
	t.Parallel()
	for _, retain := range []time.Duration{0, time.Minute} {
		s := etcdtest.Start(t)
		client := s.Client(t)
		order := &blockedOrder{}
		l := newLocker(t, client, locker.WithPrefix(s.Prefix(t)), locker.WithHook(order), locker.WithRetain(retain),
			locker.WithHandoff(100*time.Millisecond))
		held := locktest.Acquire(t, l, key)
		fence := held.Fence()
		holds := func() bool {
			resp, err := client.Txn(t.Context()).If(fence).Commit()
			locktest.Must(t, err)
			return resp.Succeeded
		}
		if !holds() {
			t.Error("the fence does not hold")
		}
		var passed atomic.Bool
		tokens := queueUp(t, l, order, 1, func(*locker.Hold) { passed.Store(holds()) })
		locktest.Release(t, held)
		tokens()
		if passed.Load() {
			t.Error("the fence of one hold holds for the next")
		}
		if fence = held.Fence(); holds() {
			t.Error("the fence of a hold that has ended holds")
		}
	}
}

func TestALockThatTheMonitorFreesIsNotHandedOn(t *testing.T) {
	t.Parallel()
	a, _, _, _ := newPair(t, locker.WithMonitorTicks(time.Millisecond), locker.WithHandoff(100*time.Millisecond))
	held := locktest.Acquire(t, a, key, locker.MaxHeld(time.Nanosecond))
	next := locktest.Acquire(t, a, key)
	locktest.WantErr(t, held.Release(t.Context()), locker.ErrMaxHeld)
	if entry := func(h *locker.Hold) locker.Token { return h.Token() >> 16 }; entry(held) == entry(next) {
		t.Errorf("tokens %d and %d are of one entry", held.Token(), next.Token())
	}
	locktest.Release(t, next)
}

func TestALeaseThatEndsWhileALockIsHandedOnEndsTheHoldAndTheWaitersGoOn(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	client, prefix := s.Client(t), s.Prefix(t)
	order := &blockedOrder{}
	l := newLocker(t, s.Client(t), locker.WithPrefix(prefix), locker.WithHook(order), locker.WithTTL(2*time.Second),
		locker.WithHandoff(100*time.Millisecond))
	held := locktest.Acquire(t, l, key)
	var first atomic.Bool
	lost := make(chan error, 1)
	var wg sync.WaitGroup
	for i := range 5 {
		wg.Go(func() {
			h := locktest.Acquire(t, l, key)
			if !first.CompareAndSwap(false, true) {
				locktest.Release(t, h)
				return
			}
			_, err := client.Revoke(t.Context(), clientv3.LeaseID(queue(t, client, prefix)[0].Lease))
			locktest.Must(t, err)
			<-h.Context().Done()
			lost <- context.Cause(h.Context())
		})
		locktest.Until(t, "it waits", func() bool { return int(order.n.Load()) == i+1 })
	}
	locktest.Release(t, held)
	wg.Wait()
	if err := locktest.Receive(t, lost); !errors.Is(err, locker.ErrLost) {
		t.Errorf("it ended with %v", err)
	}
}

func TestALostAnswerToARequeueLeavesNothingAndTheWaitersGoOn(t *testing.T) {
	t.Parallel()
	for _, sent := range []bool{true, false} {
		s := etcdtest.Start(t)
		prefix := s.Prefix(t)
		order := &blockedOrder{}
		var armed atomic.Bool
		lost := errors.New("test: lost")
		f := losing(sent, lost, func(c call) bool { return c.kind == "acquire" && armed.CompareAndSwap(true, false) })
		l := newLocker(t, faulty(s.Client(t), f), locker.WithPrefix(prefix), locker.WithHook(order), locker.WithHandoff(0))
		held := locktest.Acquire(t, l, key)
		tokens := queueUp(t, l, order, 3, func(*locker.Hold) {})
		armed.Store(true)
		locktest.WantErr(t, held.Release(t.Context()), lost)
		if got := tokens(); !slices.IsSorted(got) {
			t.Errorf("tokens %v", got)
		}
		client := s.Client(t)
		locktest.Until(t, "nothing is left", func() bool { return len(keys(t, client, prefix)) == 0 })
	}
}

func TestARequeueThatCommitsWhileItIsLookedForLeavesNothing(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	order := &blockedOrder{}
	var armed, looked atomic.Bool
	var again func() error
	f := &faults{before: func(_ context.Context, c call) error {
		if c.kind == "acquire" && armed.CompareAndSwap(true, false) {
			again = c.again
			looked.Store(true)
			return errLate
		}
		return nil
	}, after: func(_ context.Context, c call, err error) error {
		if c.kind == "read" && looked.CompareAndSwap(true, false) { // it was not there; now it comes
			if err := again(); err != nil {
				t.Error(err)
			}
		}
		return err
	}}
	l := newLocker(t, faulty(s.Client(t), f), locker.WithPrefix(s.Prefix(t)), locker.WithHook(order), locker.WithHandoff(0),
		locker.WithTTL(5*time.Minute)) // a ghost would stay for longer than the test waits
	held := locktest.Acquire(t, l, key)
	tokens := queueUp(t, l, order, 1, func(*locker.Hold) {})
	armed.Store(true)
	locktest.WantErr(t, held.Release(t.Context()), errLate)
	tokens()
}

// The machine sleeps until the lease is over, and the lock goes to others. A release tells that, also where a goroutine waits to
// which the lock could pass.
func TestAReleaseAfterTheMachineSleptTellsTheLoss(t *testing.T) {
	t.Parallel()
	a, _, client, _ := newPair(t, locker.WithTTL(time.Minute), locker.WithHandoff(100*time.Millisecond))
	var slept atomic.Int64
	locker.SetClocks(a, func() time.Time { return time.Now().Add(time.Duration(slept.Load())) })
	h := locktest.Acquire(t, a, key)
	next := make(chan error, 1)
	go func() {
		h, err := a.Acquire(context.Background(), key)
		if err == nil {
			err = h.Release(context.Background())
		}
		next <- err
	}()
	locktest.Until(t, "one waits", func() bool { return locker.Waiting(a, key) == 1 })
	slept.Store(int64(time.Hour))
	_, err := client.Delete(t.Context(), key.Path(a.Prefix()), clientv3.WithPrefix()) // as etcd has ended the lease meanwhile
	locktest.Must(t, err)
	if err := h.Release(t.Context()); !errors.Is(err, locker.ErrLost) {
		t.Errorf("Release returned %v", err)
	}
	locktest.Must(t, locktest.Receive(t, next))
}
