package locker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
)

func tryShared(tb testing.TB, l *locker.Locker) (*locker.Hold, error) {
	tb.Helper()
	return l.TryAcquire(context.Background(), key, locker.Shared())
}

func TestReadersHoldTogetherAndWritersAlone(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	r1, r2, r3 := locktest.Acquire(t, a, key, locker.Shared()), locktest.Acquire(t, b, key, locker.Shared()), locktest.Acquire(t, a, key, locker.Shared())
	for _, l := range []*locker.Locker{a, b} {
		_, err := l.TryAcquire(t.Context(), key)
		locktest.WantErr(t, err, locker.ErrLocked)
		h, err := tryShared(t, l)
		locktest.WantErr(t, err, nil)
		locktest.Release(t, h)
	}
	q, err := a.Inspect(t.Context(), key)
	if err != nil || len(q.Holders) != 2 || !q.Holders[0].Shared || !q.Holders[1].Shared || len(q.Waiters) != 0 {
		t.Errorf("got %+v, %v", q, err)
	}
	locktest.Release(t, r1)
	_, err = b.TryAcquire(t.Context(), key)
	locktest.WantErr(t, err, locker.ErrLocked)
	locktest.Release(t, r2)
	locktest.Release(t, r3)
	w := locktest.Acquire(t, b, key)
	for _, r := range []*locker.Hold{r1, r2, r3} {
		if w.Token() <= r.Token() {
			t.Errorf("a writer's token %d is not above a reader's %d", w.Token(), r.Token())
		}
	}
	for _, l := range []*locker.Locker{a, b} {
		_, err = tryShared(t, l)
		locktest.WantErr(t, err, locker.ErrLocked)
	}
	locktest.Release(t, w)
	r := locktest.Acquire(t, a, key, locker.Shared())
	if r.Token() <= w.Token() {
		t.Errorf("a reader's token %d is not above an earlier writer's %d", r.Token(), w.Token())
	}
	locktest.Release(t, r)
}

// A reader in the same process, in another, and by a try: none passes a writer
// that waits.
func TestAReaderWaitsBehindAWriterThatWaits(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"another process", "the same process"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			a, b, _, _ := newPair(t)
			r := locktest.Acquire(t, a, key, locker.Shared())
			writer, others := b, []*locker.Locker{a, b}
			if where == "the same process" { // a reader of another process does not see a writer that waits in this one's line
				writer, others = a, []*locker.Locker{a, a}
			}
			var order []string // guarded by the lock
			var mu sync.Mutex
			note := func(s string) { mu.Lock(); order = append(order, s); mu.Unlock() }
			w := locktest.Async(t, func() *locker.Hold { h, _ := writer.Acquire(context.Background(), key); note("writer"); return h })
			if writer == b {
				locktest.UntilQueued(t, a, key, 2)
			} else {
				locktest.Until(t, "the writer waits", func() bool { return locker.Waiting(a, key) == 1 })
			}
			locktest.Until(t, "joining is over", func() bool { // a reader may yet come for some milliseconds
				h, err := tryShared(t, a)
				if err == nil {
					locktest.Release(t, h)
				}
				return errors.Is(err, locker.ErrLocked)
			})
			var readers []func() *locker.Hold
			for _, l := range others {
				readers = append(readers, locktest.Async(t, func() *locker.Hold {
					h, _ := l.Acquire(context.Background(), key, locker.Shared())
					note("reader")
					return h
				}))
			}
			locktest.Release(t, r)
			locktest.Release(t, w())
			for _, r := range readers {
				locktest.Release(t, r())
			}
			if order[0] != "writer" {
				t.Errorf("they held in the order %v", order)
			}
		})
	}
}

func TestReadersWaitForAWriterAndThenHoldTogether(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	w := locktest.Acquire(t, a, key)
	var all []func() *locker.Hold
	for i := range 8 {
		l := []*locker.Locker{a, b}[i%2]
		all = append(all, locktest.Async(t, func() *locker.Hold { h, _ := l.Acquire(context.Background(), key, locker.Shared()); return h }))
	}
	locktest.UntilQueued(t, a, key, 2)
	locktest.Release(t, w)
	var holds []*locker.Hold
	for _, h := range all { // all hold before the first is released
		holds = append(holds, h())
	}
	var tokens []locker.Token
	for _, h := range holds {
		locktest.WantErr(t, h.Err(), nil)
		tokens = append(tokens, h.Token())
	}
	slices.Sort(tokens)
	if len(slices.Compact(tokens)) != len(holds) {
		t.Errorf("tokens %v", tokens)
	}
	for _, h := range holds {
		locktest.Release(t, h)
	}
	locktest.Release(t, locktest.Acquire(t, b, key))
}

func TestReadersOfOneProcessCostNoMoreWritesThanOne(t *testing.T) {
	t.Parallel()
	var wrote atomic.Int64
	count := &faults{after: func(_ context.Context, c call, err error) error {
		if c.wrote && c.kind != "grant" {
			wrote.Add(1)
		}
		return err
	}}
	_, b, client, prefix := newPair(t)
	a := newLocker(t, faulty(client, count), locker.WithPrefix(prefix), locker.WithoutBatching())
	first := locktest.Acquire(t, a, key, locker.Shared())
	var all []func() *locker.Hold
	for range 64 {
		all = append(all, locktest.Async(t, func() *locker.Hold { h, _ := a.Acquire(context.Background(), key, locker.Shared()); return h }))
	}
	var holds []*locker.Hold
	for _, h := range all {
		holds = append(holds, h())
	}
	locktest.Release(t, first)
	for _, h := range holds {
		locktest.WantErr(t, h.Err(), nil)
		locktest.Release(t, h)
	}
	if n := wrote.Load(); n != 2 {
		t.Errorf("%d writes, want 2", n)
	}
	locktest.Release(t, locktest.Acquire(t, b, key))
}

// Readers that overlap without a pause do not keep a writer out, in either
// process.
func TestAWriterIsNotStarved(t *testing.T) {
	t.Parallel()
	for _, opts := range [][]locker.Option{nil, {locker.WithHandoff(0)}, {locker.WithRetain(time.Minute)}} {
		a, b, _, _ := newPair(t, opts...)
		ctx, cancel := context.WithCancel(context.Background())
		var all []func() error
		for i := range 6 {
			l := []*locker.Locker{a, b}[i%2]
			all = append(all, locktest.Async(t, func() error {
				for ctx.Err() == nil {
					h, err := l.Acquire(ctx, key, locker.Shared())
					if err != nil {
						return nil
					}
					pause := time.NewTimer(time.Duration(rand.IntN(int(5 * time.Millisecond)))) // so that they overlap
					select {
					case <-pause.C:
					case <-ctx.Done():
					}
					if err := h.Release(context.Background()); err != nil {
						return err
					}
				}
				return nil
			}))
		}
		for range 5 {
			for _, l := range []*locker.Locker{a, b} {
				locktest.Release(t, locktest.Acquire(t, l, key))
			}
		}
		cancel()
		for _, done := range all {
			locktest.WantErr(t, done(), nil)
		}
	}
}

func TestALossReachesAllWhoShareAndNobodyElse(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	for name, lose := range map[string]func() error{
		"evicted": func() error { _, err := b.Evict(t.Context(), key); return err },
		"deleted": func() error {
			_, err := client.Delete(t.Context(), key.Path(prefix), clientv3.WithPrefix())
			return err
		},
	} {
		var holds []*locker.Hold
		for range 3 {
			holds = append(holds, locktest.Acquire(t, a, key, locker.Shared()))
		}
		if err := lose(); err != nil {
			t.Fatal(err)
		}
		for _, h := range holds {
			select {
			case <-h.Context().Done():
			case <-time.After(locktest.Wait):
				t.Fatalf("%s: one is not told", name)
			}
			locktest.WantErr(t, context.Cause(h.Context()), locker.ErrLost)
			locktest.WantErr(t, h.Release(t.Context()), locker.ErrLost)
		}
		locktest.Release(t, locktest.Acquire(t, a, key))
		locktest.Release(t, locktest.Acquire(t, b, key, locker.Shared()))
	}
}

func TestAReaderThatGivesUpLeavesTheOthersTheirLock(t *testing.T) {
	t.Parallel()
	a, b, _, prefix := newPair(t)
	r := locktest.Acquire(t, a, key, locker.Shared())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := a.Acquire(ctx, key, locker.Shared())
	locktest.WantErr(t, err, context.Canceled)
	// One that is granted, and fails at what it reads, has joined and leaves.
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		done := locktest.Async(t, func() error {
			h, err := a.Acquire(ctx, key, locker.Shared(), locker.ReadKeys(key.ValuePath(prefix)))
			if err == nil {
				return h.Release(context.Background())
			}
			return nil
		})
		cancel()
		locktest.WantErr(t, done(), nil)
	}
	locktest.WantErr(t, r.Err(), nil)
	_, err = b.TryAcquire(t.Context(), key)
	locktest.WantErr(t, err, locker.ErrLocked)
	locktest.Release(t, r)
	locktest.Release(t, locktest.Acquire(t, b, key))
}

func TestASharedHoldCannotCommit(t *testing.T) {
	t.Parallel()
	a, _, client, prefix := newPair(t)
	r := locktest.Acquire(t, a, key, locker.Shared())
	ok, err := r.Commit(t.Context(), nil, put(prefix, key, "x"))
	if ok {
		t.Error("it did")
	}
	locktest.WantErr(t, err, locker.ErrInvalidOption)
	locktest.WantErr(t, r.Err(), nil)
	locktest.Release(t, r)
	if got := valueOf(t, client, prefix, key); got != "" {
		t.Errorf("the value is %q", got)
	}
}

// Readers and writers in three processes, some of which give up, some are
// evicted, some share the way in: nobody holds with a writer, and all is free in the end.
func TestReadersAndWritersUnderStress(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]locker.Option{
		"default": nil, "no hand-off": {locker.WithHandoff(0)}, "retained": {locker.WithRetain(50 * time.Millisecond)}, "unbatched": {locker.WithoutBatching()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b, client, prefix := newPair(t, opts...)
			c := newLocker(t, client, locker.WithPrefix(prefix)) // mixed
			for _, l := range []*locker.Locker{a, b, c} {
				locktest.Release(t, locktest.Acquire(t, l, key)) // there is a lease
			}
			var readers, writers atomic.Int64
			one := func(l *locker.Locker, r *rand.Rand) error {
				ctx, cancel := context.WithTimeout(context.Background(), locktest.Wait)
				hurried := r.IntN(5) == 0 // it may end before etcd has answered
				if hurried {
					ctx, cancel = context.WithTimeout(context.Background(), time.Duration(r.IntN(20))*time.Millisecond)
				}
				defer cancel()
				acquire := l.Acquire
				if r.IntN(4) == 0 {
					acquire = l.TryAcquire
				}
				mine, other := &writers, &readers
				var opts []locker.AcquireOption
				if r.IntN(3) > 0 {
					mine, other = other, mine
					opts = append(opts, locker.Shared())
				}
				h, err := acquire(ctx, key, opts...)
				if err != nil {
					if errors.Is(err, locker.ErrLocked) || errors.Is(err, context.DeadlineExceeded) && (hurried || !errors.Is(err, locker.ErrUnavailable)) {
						return nil
					}
					return err
				}
				n := mine.Add(1)
				if other.Load() != 0 || mine == &writers && n != 1 {
					return fmt.Errorf("%d writers and %d readers hold", writers.Load(), readers.Load())
				}
				if r.IntN(10) == 0 {
					time.Sleep(time.Duration(r.IntN(15)) * time.Millisecond) // the work, past the term
				}
				if other.Load() != 0 {
					return fmt.Errorf("%d writers and %d readers hold", writers.Load(), readers.Load())
				}
				mine.Add(-1)
				return h.Release(context.Background())
			}
			var all []func() error
			for i := range 12 {
				l := []*locker.Locker{a, b, c}[i%3]
				r := rand.New(rand.NewPCG(7, uint64(i)))
				all = append(all, locktest.Async(t, func() error {
					for range 60 {
						if err := one(l, r); err != nil {
							return err
						}
					}
					return nil
				}))
			}
			for _, done := range all {
				locktest.WantErr(t, done(), nil)
			}
			locktest.Release(t, locktest.Acquire(t, b, key))
		})
	}
}
