package locker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// taken counts the slots that are held, and fails the test if they are more than n.
type taken struct {
	n   int64
	now atomic.Int64
}

func (c *taken) add(tb testing.TB, weight int) {
	if now := c.now.Add(int64(weight)); now > c.n {
		tb.Errorf("%d of %d slots are held", now, c.n)
	}
}

func TestNoMoreHoldThanThereAreSlots(t *testing.T) {
	t.Parallel()
	const n, goroutines, rounds = 8, 64, 5
	for name, heaviest := range map[string]int{"one slot each": 1, "up to three each": 3} {
		for _, handoff := range []time.Duration{0, locker.DefaultHandoff} {
			t.Run(fmt.Sprint(name, ", handed on for ", handoff), func(t *testing.T) {
				t.Parallel()
				a, b, client, prefix := newPair(t, locker.WithHandoff(handoff))
				all := []*locker.Locker{a, b, newLocker(t, client, locker.WithPrefix(prefix), locker.WithHandoff(handoff))}
				var together []*locker.Hold
				for i := range n {
					together = append(together, locktest.Acquire(t, all[i%len(all)], key, locker.Slots(n)))
				}
				for _, h := range together {
					locktest.WantErr(t, h.Err(), nil)
					locktest.Release(t, h)
				}
				c := taken{n: n}
				var tokens sync.Map
				var wg sync.WaitGroup
				for i := range goroutines {
					wg.Go(func() {
						for range rounds {
							weight := 1 + rand.IntN(heaviest)
							h, err := all[i%len(all)].Acquire(context.Background(), key, locker.Slots(n), locker.Weight(weight))
							if err != nil {
								t.Error(err)
								return
							}
							c.add(t, weight)
							if _, twice := tokens.LoadOrStore(h.Token(), true); twice || h.Err() != nil || h.Slots() != n {
								t.Errorf("%v, again: %v, of %d slots: %v", h, twice, h.Slots(), h.Err())
							}
							time.Sleep(time.Duration(rand.IntN(int(2 * time.Millisecond)))) // it works
							c.now.Add(int64(-weight))
							locktest.CheckErr(t, h.Release(context.Background()))
						}
					})
				}
				wg.Wait()
				locktest.UntilQueued(t, a, key, 0)
				locktest.Release(t, locktest.Acquire(t, a, key, locker.Slots(n), locker.Weight(n)))
			})
		}
	}
}

// Whoever comes behind one that waits for many slots waits, too: in the same process, in another,
// and by a try.
func TestALargeRequestIsNotStarvedBySmallOnes(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"another process", "the same process"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			a, b, _, _ := newPair(t)
			first := locktest.Acquire(t, a, key, locker.Slots(4))
			held := make(chan string, 3)
			queue := func(l *locker.Locker, name string, weight int) func() *locker.Hold {
				return locktest.Async(t, func() *locker.Hold {
					h, _ := l.Acquire(context.Background(), key, locker.Slots(4), locker.Weight(weight))
					held <- name
					return h
				})
			}
			l, queued := b, 2
			if where == "the same process" {
				l, queued = a, 1
			}
			large := queue(l, "large", 4)
			if l == a {
				locktest.Until(t, "the large request waits", func() bool { return locker.Waiting(a, key) == 1 })
			}
			locktest.UntilQueued(t, a, key, queued)
			small := queue(l, "small", 1)
			locktest.Until(t, "the small request waits", func() bool { return locker.Waiting(l, key) == 3-queued })
			_, err := l.TryAcquire(t.Context(), key, locker.Slots(4))
			locktest.WantErr(t, err, locker.ErrLocked)
			locktest.Release(t, first)
			h := large()
			if got := locktest.Receive(t, held); got != "large" {
				t.Errorf("the %s request held first", got)
			}
			locktest.Release(t, h)
			locktest.Release(t, small())
		})
	}
}

func TestProcessesTakeTheirSlotsInTheOrderOfArrival(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	c := newLocker(t, client, locker.WithPrefix(prefix))
	two := locktest.Acquire(t, a, key, locker.Slots(3), locker.Weight(2))
	one := locktest.Acquire(t, b, key, locker.Slots(3))
	large := locktest.Async(t, func() *locker.Hold {
		h, _ := b.Acquire(context.Background(), key, locker.Slots(3), locker.Weight(2))
		return h
	})
	locktest.UntilQueued(t, a, key, 3)
	small := locktest.Async(t, func() *locker.Hold { h, _ := c.Acquire(context.Background(), key, locker.Slots(3)); return h })
	locktest.UntilQueued(t, a, key, 4)
	locktest.Release(t, one) // enough for the small request only
	q, err := a.Inspect(t.Context(), key)
	if err != nil || len(q.Holders) != 1 || len(q.Waiters) != 2 || q.Waiters[0].Weight != 2 {
		t.Errorf("got %v, %v", q, err)
	}
	locktest.Release(t, two)
	first, second := large(), small() // together
	if first.Err() != nil || second.Err() != nil || second.Token() <= first.Token() {
		t.Errorf("%v: %v, %v: %v", first, first.Err(), second, second.Err())
	}
	locktest.Release(t, first)
	locktest.Release(t, second)
}

func TestATryGetsASlotThatIsFree(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	var holds []*locker.Hold
	for _, l := range []*locker.Locker{a, b, a} {
		h, err := l.TryAcquire(t.Context(), key, locker.Slots(3))
		locktest.WantErr(t, err, nil)
		holds = append(holds, h)
	}
	for _, l := range []*locker.Locker{a, b} {
		_, err := l.TryAcquire(t.Context(), key, locker.Slots(3))
		locktest.WantErr(t, err, locker.ErrLocked)
		if failed, ok := errors.AsType[*locker.Error](err); !ok || failed.Blocker == nil || failed.Blocker.Slots != 3 && l == b {
			t.Errorf("blocked by %+v", failed)
		}
	}
	locktest.UntilQueued(t, a, key, 3) // a try leaves nothing
	locktest.Release(t, holds[1])
	_, err := a.TryAcquire(t.Context(), key, locker.Slots(3), locker.Weight(2))
	locktest.WantErr(t, err, locker.ErrLocked)
	h, err := a.TryAcquire(t.Context(), key, locker.Slots(3))
	locktest.WantErr(t, err, nil)
	locktest.Release(t, h)
	locktest.Release(t, holds[0])
	locktest.Release(t, holds[2])
}

// Slots, other slots, alone, and shared: none of them hold together, and none keeps another out.
func TestWhoNamesAnotherNumberOfSlotsHoldsAtAnotherTime(t *testing.T) {
	t.Parallel()
	kinds := [][]locker.AcquireOption{{locker.Slots(2)}, {locker.Slots(3), locker.Weight(2)}, nil, {locker.Shared()}}
	for i, first := range kinds {
		for j, second := range kinds {
			if i == j {
				continue
			}
			for _, where := range []string{"another process", "the same process"} {
				t.Run(fmt.Sprint(i, " before ", j, " in ", where), func(t *testing.T) {
					t.Parallel()
					a, b, _, _ := newPair(t)
					if where == "the same process" {
						b = a
					}
					h := locktest.Acquire(t, a, key, first...)
					_, err := b.TryAcquire(t.Context(), key, second...)
					locktest.WantErr(t, err, locker.ErrLocked)
					ctx, cancel := context.WithCancel(t.Context())
					gaveUp := locktest.Async(t, func() error { return locktest.Second(b.Acquire(ctx, key, second...)) })
					got := locktest.Async(t, func() *locker.Hold { h, _ := b.Acquire(context.Background(), key, second...); return h })
					cancel()
					locktest.WantErr(t, gaveUp(), context.Canceled)
					locktest.WantErr(t, h.Err(), nil)
					locktest.Release(t, h)
					next := got()
					if next.Token() <= h.Token() {
						t.Errorf("%v after %v", next, h)
					}
					locktest.Release(t, next)
				})
			}
		}
	}
}

func TestACallerThatNamesAnotherNumberIsNeverKeptOut(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	var two, three atomic.Int64 // how many hold
	var wg sync.WaitGroup
	for i := range 24 {
		l := []*locker.Locker{a, b}[i%2]
		n, mine, other := 2, &two, &three
		if i%3 == 0 {
			n, mine, other = 3, &three, &two
		}
		wg.Go(func() {
			for range 10 {
				h, err := l.Acquire(context.Background(), key, locker.Slots(n))
				if err != nil {
					t.Error(err)
					return
				}
				if now, also := mine.Add(1), other.Load(); now > int64(n) || also > 0 {
					t.Errorf("%d of %d hold, and %d of others", now, n, also)
				}
				mine.Add(-1)
				locktest.CheckErr(t, h.Release(context.Background()))
			}
		})
	}
	wg.Wait()
}

func TestSlotsComeBackWhenAProcessDies(t *testing.T) {
	t.Parallel()
	var dead atomic.Bool
	cut := make(chan struct{})
	kill := &faults{before: func(ctx context.Context, _ call) error {
		if !dead.Load() {
			return nil
		}
		select { // it is never heard of again
		case <-ctx.Done():
		case <-cut:
		}
		return errAnswer
	}}
	_, b, client, prefix := newPair(t)
	a := newLocker(t, faulty(client, kill), locker.WithPrefix(prefix), locker.WithTTL(2*time.Second))
	t.Cleanup(func() { dead.Store(false); close(cut) }) // so that it can be closed
	var lost []*locker.Hold
	for range 3 {
		lost = append(lost, locktest.Acquire(t, a, key, locker.Slots(4)))
	}
	stays := locktest.Acquire(t, b, key, locker.Slots(4))
	waits := locktest.Async(t, func() error {
		return locktest.Second(a.Acquire(context.Background(), key, locker.Slots(4), locker.Weight(2)))
	})
	locktest.Until(t, "it waits", func() bool { return locker.Waiting(a, key) == 1 })
	dead.Store(true)
	h := locktest.Acquire(t, b, key, locker.Slots(4), locker.Weight(3))
	for _, l := range lost {
		locktest.WantErr(t, l.Err(), locker.ErrLost)
	}
	locktest.WantErr(t, stays.Err(), nil)
	locktest.Release(t, h)
	locktest.Release(t, stays)
	dead.Store(false)
	locktest.WantErr(t, waits(), nil) // under another lease
}

func TestAWaitForSlotsThatIsGivenUpLeavesThemToOthers(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	h := locktest.Acquire(t, a, key, locker.Slots(2))
	for _, l := range []*locker.Locker{a, b} {
		ctx, cancel := context.WithCancel(t.Context())
		large := locktest.Async(t, func() error { return locktest.Second(l.Acquire(ctx, key, locker.Slots(2), locker.Weight(2))) })
		if l == a {
			locktest.Until(t, "it waits", func() bool { return locker.Waiting(a, key) == 1 })
		} else {
			locktest.UntilQueued(t, a, key, 2)
		}
		small := locktest.Async(t, func() *locker.Hold { h, _ := l.Acquire(context.Background(), key, locker.Slots(2)); return h })
		cancel()
		locktest.WantErr(t, large(), context.Canceled)
		locktest.Release(t, small())
	}
	locktest.Release(t, h)
	locktest.UntilQueued(t, a, key, 0)
}

func TestALostAnswerCostsNoSlot(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"acquire", "try", "delete", "read"} {
		for _, answers := range []bool{true, false} {
			t.Run(fmt.Sprint(kind, ", only its answer: ", answers), func(t *testing.T) {
				t.Parallel()
				var lost atomic.Int64
				f := losing(answers, errAnswer, func(c call) bool { return c.kind == kind && lost.Add(1)%3 == 1 })
				_, b, client, prefix := newPair(t)
				a := newLocker(t, faulty(client, f), locker.WithPrefix(prefix))
				var wg sync.WaitGroup
				c := taken{n: 3}
				for i := range 12 {
					l := []*locker.Locker{a, a, b}[i%3]
					wg.Go(func() {
						for range 5 {
							acquire := l.Acquire
							if kind == "try" {
								acquire = l.TryAcquire
							}
							h, err := acquire(brief(t), key, locker.Slots(3))
							if err != nil {
								continue
							}
							c.add(t, 1)
							c.now.Add(-1)
							_ = h.Release(brief(t)) // the background does it if this cannot
						}
					})
				}
				wg.Wait()
				if lost.Load() == 0 && kind != "read" { // who does not wait may read nothing
					t.Error("nothing was lost")
				}
				locktest.Release(t, locktest.Acquire(t, b, key, locker.Slots(3), locker.Weight(3)))
			})
		}
	}
}

func TestInspectAndListShowSlots(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t, locker.WithOwner("worker"))
	two := locktest.Acquire(t, a, key, locker.Slots(3), locker.Weight(2))
	one := locktest.Acquire(t, b, key, locker.Slots(3))
	ctx, cancel := context.WithCancel(t.Context())
	large := locktest.Async(t, func() error { return locktest.Second(b.Acquire(ctx, key, locker.Slots(3), locker.Weight(3))) })
	locktest.Until(t, "it waits", func() bool { return locker.Waiting(b, key) == 1 })
	q, err := a.Inspect(t.Context(), key)
	if err != nil || len(q.Holders) != 2 || len(q.Waiters) != 0 || q.Holders[0].Slots != 3 || q.Holders[0].Weight != 2 || q.Holders[1].Weight != 1 {
		t.Errorf("got %+v, %v", q, err)
	}
	want := fmt.Sprintf("held by worker (2 of 3 slots) token %d, worker (1 of 3 slots) token %d", two.Token(), one.Token())
	if q.String() != want {
		t.Errorf("got %v; want %v", q, want)
	}
	locktest.Release(t, one) // the large request is in etcd now
	locktest.UntilQueued(t, a, key, 2)
	for q, err := range a.List(t.Context(), "space", locker.ListContended()) {
		if err != nil || len(q.Holders) != 1 || len(q.Waiters) != 1 || q.Waiters[0].Weight != 3 {
			t.Errorf("got %v, %v", q, err)
		}
	}
	chain, err := a.Blocking(t.Context(), key)
	if err != nil || len(chain.Links) == 0 || chain.Links[0].Holder.Token != two.Token() {
		t.Errorf("got %v, %v", chain, err)
	}
	cancel()
	locktest.WantErr(t, large(), context.Canceled)
	locktest.Release(t, two)
}

func TestAnEvictionTakesAllSlots(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	holds := []*locker.Hold{locktest.Acquire(t, a, key, locker.Slots(2)), locktest.Acquire(t, b, key, locker.Slots(2))}
	waits := locktest.Async(t, func() *locker.Hold { h, _ := b.Acquire(context.Background(), key, locker.Slots(2)); return h })
	locktest.UntilQueued(t, a, key, 3)
	done, err := a.Evict(t.Context(), key)
	if !done || err != nil {
		t.Fatalf("%v, %v", done, err)
	}
	for _, h := range holds {
		locktest.Receive(t, h.Context().Done())
		locktest.WantLost(t, context.Cause(h.Context()), locker.ReasonEvicted)
	}
	locktest.Release(t, waits())
}

func TestOneSlotThatIsLostLeavesTheOthers(t *testing.T) {
	t.Parallel()
	a, _, client, prefix := newPair(t)
	one, two := locktest.Acquire(t, a, key, locker.Slots(2)), locktest.Acquire(t, a, key, locker.Slots(2))
	resp, err := client.Get(t.Context(), key.Path(prefix), clientv3.WithFirstCreate()...)
	locktest.Must(t, err)
	_, err = client.Delete(t.Context(), string(resp.Kvs[0].Key))
	locktest.Must(t, err)
	locktest.Receive(t, one.Context().Done())
	locktest.WantLost(t, one.Err(), locker.ReasonKeyDeleted)
	locktest.Release(t, locktest.Acquire(t, a, key, locker.Slots(2)))
	locktest.WantErr(t, two.Err(), nil)
	locktest.Release(t, two)
}

func TestAnAcquireOfASlotUnderAHoldOfAnotherIsADeadlock(t *testing.T) {
	t.Parallel()
	a, _, _, _ := newPair(t)
	h := locktest.Acquire(t, a, key, locker.Slots(2))
	_, err := a.Acquire(h.Context(), key, locker.Slots(2))
	locktest.WantErr(t, err, locker.ErrDeadlock)
	other, err := a.TryAcquire(h.Context(), key, locker.Slots(2))
	locktest.WantErr(t, err, nil)
	locktest.Release(t, other)
	locktest.Release(t, h)
}

func TestSlotsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	a, _, client, prefix := newPair(t)
	for _, opts := range [][]locker.AcquireOption{
		{locker.Slots(0)}, {locker.Slots(-1)}, {locker.Slots(10_001)}, {locker.Weight(1)},
		{locker.Slots(2), locker.Weight(0)}, {locker.Slots(2), locker.Weight(-1)}, {locker.Slots(2), locker.Weight(3)},
		{locker.Slots(2), locker.Shared()}, {locker.Weight(2), locker.Shared()}, {locker.Slots(2), locker.Announcing("here")}, {locker.Slots(2), locker.AtLeast(time.Second)},
	} {
		_, err := a.Acquire(t.Context(), key, opts...)
		locktest.WantErr(t, err, locker.ErrInvalidOption)
		_, err = a.TryAcquire(t.Context(), key, opts...)
		locktest.WantErr(t, err, locker.ErrInvalidOption)
		_, err = a.AcquireAll(t.Context(), []keyspace.Key{key}, opts...)
		locktest.WantErr(t, err, locker.ErrInvalidOption)
	}
	resp, err := client.Get(t.Context(), key.Path(prefix), clientv3.WithPrefix())
	if err != nil || resp.Count != 0 {
		t.Errorf("%v, %v", resp, err)
	}
	h := locktest.Acquire(t, a, key, locker.Slots(2))
	locktest.WantErr(t, h.Promote(t.Context(), "other"), locker.ErrInvalidOption)
	locktest.Release(t, h)
}

func TestACommitUnderASlotRequiresIt(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	one, two := locktest.Acquire(t, a, key, locker.Slots(2)), locktest.Acquire(t, b, key, locker.Slots(2))
	file := "/" + prefix + "/file"
	done, err := one.Commit(t.Context(), nil, clientv3.OpPut(file, "one"))
	if !done || err != nil {
		t.Errorf("%v, %v", done, err)
	}
	fenced := func(h *locker.Hold, cmp clientv3.Cmp) bool {
		resp, err := client.Txn(t.Context()).If(cmp).Then(clientv3.OpPut(file, h.String())).Commit()
		locktest.Must(t, err)
		return resp.Succeeded
	}
	third := locktest.Acquire(t, a, key, locker.Slots(2))
	f2, f3 := two.Fence(), third.Fence()
	if !fenced(two, f2) || !fenced(third, f3) {
		t.Error("a fence does not hold")
	}
	waits := locktest.Async(t, func() *locker.Hold { h, _ := a.Acquire(context.Background(), key, locker.Slots(2)); return h })
	locktest.Until(t, "it waits", func() bool { q, err := b.Inspect(t.Context(), key); return err == nil && len(q.Waiters) == 1 })
	locktest.Release(t, third) // not handed on under its fence
	next := waits()
	if fenced(third, f3) || !fenced(two, f2) || fenced(one, one.Fence()) {
		t.Error("a fence does not say whether its hold has its slot")
	}
	locktest.Evict(t, a)
	if done, err := two.Commit(t.Context(), nil, clientv3.OpPut(file, "lost")); done || !errors.Is(err, locker.ErrLost) {
		t.Errorf("%v, %v", done, err)
	}
	_ = next.Release(t.Context())
}

func TestSlotsOfSeveralLocks(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	keys := []keyspace.Key{key, keyspace.MustParse("space/other")}
	one, err := a.AcquireAll(t.Context(), keys, locker.Slots(2))
	locktest.WantErr(t, err, nil)
	two, err := b.AcquireAll(t.Context(), []keyspace.Key{keys[1], keys[0]}, locker.Slots(2))
	locktest.WantErr(t, err, nil)
	if one.Slots() != 2 || one.Err() != nil || two.Err() != nil {
		t.Errorf("%v: %v, %v: %v", one, one.Err(), two, two.Err())
	}
	_, err = a.TryAcquire(t.Context(), key, locker.Slots(2))
	locktest.WantErr(t, err, locker.ErrLocked)
	locktest.Release(t, one)
	locktest.Release(t, two)
}

// A slot passes among the goroutines of a process without a write, as a lock does.
func TestASlotIsHandedOn(t *testing.T) {
	t.Parallel()
	var wrote atomic.Int64
	count := &faults{after: func(_ context.Context, c call, err error) error {
		if c.wrote && c.kind != "grant" {
			wrote.Add(1)
		}
		return err
	}}
	_, _, client, prefix := newPair(t)
	a := locktest.New(t, faulty(client, count), locker.WithPrefix(prefix), locker.WithoutBatching(), locker.WithHandoff(100*time.Millisecond))
	h := locktest.Acquire(t, a, key, locker.Slots(1))
	const others = 20
	var all []func() *locker.Hold
	for range others {
		all = append(all, locktest.Async(t, func() *locker.Hold {
			h, _ := a.Acquire(context.Background(), key, locker.Slots(1))
			locktest.CheckErr(t, h.Release(context.Background()))
			return h
		}))
	}
	locktest.Until(t, "all wait", func() bool { return locker.Waiting(a, key) == others })
	locktest.Release(t, h)
	tokens := []locker.Token{h.Token()}
	for _, h := range all {
		tokens = append(tokens, h().Token())
	}
	slices.Sort(tokens)
	if len(slices.Compact(tokens)) != 1+others || wrote.Load() > others {
		t.Errorf("%d writes, tokens %v", wrote.Load(), tokens)
	}
}

func TestAMutexOfEtcdWaitsForAllSlots(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	a, b, client, prefix := newPairOn(t, s)
	k := keyspace.MustParse("key")
	one, two := locktest.Acquire(t, a, k, locker.Slots(2)), locktest.Acquire(t, b, k, locker.Slots(2))
	session, err := concurrency.NewSession(client)
	locktest.Must(t, err)
	defer session.Close()
	m := concurrency.NewMutex(session, strings.TrimSuffix(k.Path(prefix), "/"))
	held := locktest.Async(t, func() error { return m.Lock(context.Background()) })
	locktest.UntilQueued(t, a, k, 3)
	after := locktest.Async(t, func() *locker.Hold { h, _ := a.Acquire(context.Background(), k, locker.Slots(2)); return h })
	locktest.UntilQueued(t, a, k, 4)
	locktest.Release(t, one)
	if q, err := a.Inspect(t.Context(), k); err != nil || len(q.Holders) != 1 || len(q.Waiters) != 2 {
		t.Errorf("%v, %v", q, err)
	}
	locktest.Release(t, two)
	locktest.WantErr(t, held(), nil)
	if q, err := a.Inspect(t.Context(), k); err != nil || len(q.Holders) != 1 || !q.Holders[0].Foreign {
		t.Errorf("%v, %v", q, err)
	}
	locktest.Must(t, m.Unlock(context.Background()))
	locktest.Release(t, after())
}

func TestTheMonitorEndsASlotThatIsHeldTooLong(t *testing.T) {
	t.Parallel()
	told := make(chan locker.TimeoutStartData, 1)
	a, b, _, _ := newPair(t, append(locktest.Impatient(), locker.WithHook(timeouts{told: told}))...)
	h := locktest.Acquire(t, a, key, locker.Slots(2), locker.Weight(2))
	stays := locktest.Async(t, func() *locker.Hold {
		h, _ := b.Acquire(context.Background(), key, locker.Slots(2), locker.MaxHeld(0))
		return h
	})
	locktest.Receive(t, h.Context().Done())
	locktest.WantErr(t, h.Err(), locker.ErrMaxHeld)
	if d := locktest.Receive(t, told); d.Slots != 2 || d.Weight != 2 {
		t.Errorf("the hook is told %+v", d)
	}
	locktest.Release(t, stays())
}

type timeouts struct {
	locker.NopHook
	told chan locker.TimeoutStartData
}

func (h timeouts) TimeoutStart(ctx context.Context, d locker.TimeoutStartData) context.Context {
	h.told <- d
	return ctx
}
