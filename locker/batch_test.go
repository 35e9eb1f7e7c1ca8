package locker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// crowd has n goroutines take and release a lock of their own each, some
// rounds long, and returns the errors.
func crowd(t *testing.T, l *locker.Locker, n, rounds int) (errs []error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), locktest.Wait)
	defer cancel()
	space := keyspace.MustNew[int]("crowd")
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			for range rounds {
				h, err := l.Acquire(ctx, space.Key(i))
				if err == nil {
					if err := h.Err(); err != nil {
						t.Errorf("hold has ended: %v", err)
					}
					err = h.Release(ctx)
				}
				if err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return errs
}

// A tally counts transactions: all, and those of several locks.
type tally struct{ all, batches atomic.Int64 }

func (n *tally) after(_ context.Context, c call, err error) error {
	switch c.kind {
	case "batch":
		n.batches.Add(1)
		fallthrough
	case "acquire", "try", "delete", "read":
		n.all.Add(1)
	}
	return err
}

func TestTransactionsOfDifferentLocksGoTogether(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	var n tally
	l := locktest.New(t, faulty(s.Client(t), &faults{after: n.after}), locker.WithPrefix(s.Prefix(t)))
	const goroutines, rounds = 64, 20
	for _, err := range crowd(t, l, goroutines, rounds) {
		t.Error(err)
	}
	if sent := n.all.Load(); sent > goroutines*rounds {
		t.Errorf("%d transactions for %d locks taken and released", sent, goroutines*rounds)
	}
}

func TestALoneTransactionAndThoseOfALockerWithoutBatchingAreNotNested(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	var lone, without tally
	l := locktest.New(t, faulty(s.Client(t), &faults{after: lone.after}), locker.WithPrefix(s.Prefix(t)))
	crowd(t, l, 1, 10)
	l = locktest.New(t, faulty(s.Client(t), &faults{after: without.after}), locker.WithPrefix(s.Prefix(t)), locker.WithoutBatching())
	crowd(t, l, 32, 10)
	if n := lone.batches.Load(); n > 0 {
		t.Errorf("a lone goroutine sent %d batches", n)
	}
	if all, n := without.all.Load(), without.batches.Load(); n > 0 || all < 2*32*10 {
		t.Errorf("without batching: %d transactions, %d batches", all, n)
	}
}

func TestALostAnswerToABatchLeavesNoLockBehind(t *testing.T) {
	t.Parallel()
	for _, sent := range []bool{true, false} {
		t.Run(fmt.Sprintf("carried out %v", sent), func(t *testing.T) {
			t.Parallel()
			s := etcdtest.Start(t)
			prefix := s.Prefix(t)
			lost := errors.New("test: lost")
			var n atomic.Int64
			f := losing(sent, lost, func(c call) bool { return c.kind == "batch" && n.Add(1)%3 == 0 })
			l := locktest.New(t, faulty(s.Client(t), f), locker.WithPrefix(prefix))
			for _, err := range crowd(t, l, 64, 20) {
				locktest.WantErr(t, err, lost)
			}
			if n.Load() < 3 {
				t.Fatal("there was no batch to lose")
			}
			client := s.Client(t)
			locktest.Until(t, "nothing is left", func() bool { return len(keys(t, client, prefix)) == 0 })
		})
	}
}

func TestARefusedTransactionFailsAloneAndSoonGoesAlone(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.StartAuth(t, etcdtest.AuthConfig{})
	etcd.Grant(t, "elock/crowd:")

	var n tally
	var refused atomic.Int64 // batches
	l := locktest.New(t, faulty(etcd.Client(t), &faults{after: func(ctx context.Context, c call, err error) error {
		if c.kind == "batch" && err != nil {
			refused.Add(1)
		}
		return n.after(ctx, c, err)
	}}))
	began := time.Now()
	done := make(chan struct{})
	forbidden := locktest.Async(t, func() (refused int) {
		for {
			select {
			case <-done:
				return refused
			default:
			}
			_, err := l.Acquire(t.Context(), key)
			if !errors.Is(err, rpctypes.ErrPermissionDenied) {
				t.Errorf("got %v, want it refused", err)
			}
			refused++
		}
	})
	for _, err := range crowd(t, l, 32, 20) {
		t.Error(err)
	}
	close(done)
	if forbidden() == 0 || n.batches.Load() == 0 {
		t.Error("nothing was refused, or nothing went together")
	}
	// Once in a second, a batch that has it goes in halves, and they in halves.
	if most := 6 * int64(2+time.Since(began).Seconds()); refused.Load() > most {
		t.Errorf("%d batches were refused, want %d at most", refused.Load(), most)
	}
}

func TestABatchFitsIntoWhatTheServerTakes(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.StartOwn(t, "--max-txn-ops=8")
	var n tally
	l := locktest.New(t, faulty(etcd.Client(t), &faults{after: n.after}))
	for _, err := range crowd(t, l, 64, 10) {
		t.Error(err)
	}
	if n.batches.Load() == 0 {
		t.Error("nothing went together")
	}
}

func TestWhoGivesUpInABatchTakesNobodysAnswer(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	client, prefix := s.Client(t), s.Prefix(t)
	l := locktest.New(t, client, locker.WithPrefix(prefix))
	other := newLocker(t, s.Client(t), locker.WithPrefix(prefix))
	const goroutines, rounds = 48, 20
	var got, gaveUp atomic.Int64
	var wg sync.WaitGroup
	space := keyspace.MustNew[int]("impatient")
	for i := range goroutines {
		wg.Go(func() {
			for r := range rounds {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(r*r)*time.Millisecond/2)
				h, err := l.Acquire(ctx, space.Key(i))
				cancel()
				if err != nil {
					gaveUp.Add(1)
					continue
				}
				got.Add(1)
				q, err := other.Inspect(t.Context(), space.Key(i))
				if err != nil || len(q.Holders) != 1 || q.Holders[0].Token != h.Token() {
					t.Errorf("holds %d; etcd has %+v, %v", h.Token(), q.Holders, err)
				}
				if err := h.Release(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got.Load() == 0 || gaveUp.Load() == 0 {
		t.Errorf("%d got the lock, %d gave up", got.Load(), gaveUp.Load())
	}
	locktest.Until(t, "nothing is left", func() bool { return len(keys(t, client, prefix)) == 0 })
}

func TestALockLostByHandIsLostAloneInItsBatch(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix := s.Prefix(t)
	var n tally
	l := locktest.New(t, faulty(s.Client(t), &faults{after: n.after}), locker.WithPrefix(prefix))
	space := keyspace.MustNew[int]("crowd")
	holds := make([]*locker.Hold, 64)
	for i := range holds {
		h, err := l.Acquire(t.Context(), space.Key(i))
		locktest.Must(t, err)
		holds[i] = h
	}
	_, err := s.Client(t).Delete(t.Context(), space.Key(13).Path(prefix), clientv3.WithPrefix())
	locktest.Must(t, err)

	errs := make([]error, len(holds))
	var wg sync.WaitGroup
	for i, h := range holds {
		wg.Go(func() { errs[i] = h.Release(t.Context()) })
	}
	wg.Wait()
	for i, err := range errs {
		if i == 13 {
			locktest.WantErr(t, err, locker.ErrLost)
		} else if err != nil {
			t.Errorf("lock %d: %v", i, err)
		}
	}
	if n.batches.Load() == 0 {
		t.Error("nothing went together")
	}
}

func TestReleasesThatWaitForABatchGiveUpInTime(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	var stuck atomic.Bool
	l := locktest.New(t, faulty(s.Client(t), &faults{before: func(ctx context.Context, c call) error {
		if !stuck.Load() || c.kind != "batch" && c.kind != "delete" {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}}), locker.WithPrefix(s.Prefix(t)))
	space := keyspace.MustNew[int]("crowd")
	holds := make([]*locker.Hold, 16)
	for i := range holds {
		holds[i] = locktest.Acquire(t, l, space.Key(i))
	}
	stuck.Store(true)
	defer stuck.Store(false)
	began := time.Now()
	var wg sync.WaitGroup
	for _, h := range holds {
		wg.Go(func() { locktest.WantErr(t, h.Release(context.Background()), locker.ErrUnavailable) })
	}
	wg.Wait()
	if d := time.Since(began); d > 7*time.Second { // 5, on a busy machine
		t.Errorf("it took %v", d)
	}
}
