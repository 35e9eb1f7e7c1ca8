package locker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// commit commits ops, and fails the test if they are not carried out.
func commit(tb testing.TB, h *locker.Hold, ops ...clientv3.Op) {
	tb.Helper()
	if ok, err := h.Commit(context.Background(), nil, ops...); !ok || err != nil {
		tb.Fatalf("commit: %v, %v", ok, err)
	}
}

// wantRead fails the test unless the first of what h read is want.
func wantRead(tb testing.TB, h *locker.Hold, want string) {
	tb.Helper()
	got := ""
	if kvs := h.Read(); len(kvs) > 0 && kvs[0] != nil {
		got = string(kvs[0].Value)
	}
	if got != want {
		tb.Errorf("read %q, want %q", got, want)
	}
}

// acquiringIn acquires key on a goroutine, and returns when n wait for it in l's
// process.
func acquiringIn(tb testing.TB, l *locker.Locker, n int, opts ...locker.AcquireOption) func() *locker.Hold {
	tb.Helper()
	got := locktest.Async(tb, func() *locker.Hold { h, _ := l.Acquire(context.Background(), key, opts...); return h })
	locktest.Until(tb, "it waits", func() bool { return locker.Waiting(l, key) == n })
	return got
}

// A breaker is faults that act on the next write, once armed.
type breaker struct{ armed atomic.Bool }

func (b *breaker) next(c call) bool {
	return slices.Contains([]string{"acquire", "try", "delete", "batch"}, c.kind) && b.armed.CompareAndSwap(true, false)
}

// A try asks who retains the lock; what it read when it asked is older than its
// grant.
func TestATryReadsWhatWasWrittenBeforeARetainedLockPassed(t *testing.T) {
	t.Parallel()
	_, _, client, prefix := newPair(t)
	path := key.ValuePath(prefix)
	a := newLocker(t, client, locker.WithPrefix(prefix), locker.WithRetain(time.Minute))
	for range 2 { // now there is a value, and the lock is retained
		commit(t, locktest.Acquire(t, a, key, locker.ReadKeys(path)), put(prefix, key, "old"))
	}
	h := locktest.Acquire(t, a, key, locker.ReadKeys(path))
	var n atomic.Int64
	f := &faults{after: func(_ context.Context, c call, err error) error {
		if c.kind == "acquire" && n.Add(1) == 2 { // to ask, while the answer is on its way
			commit(t, h, put(prefix, key, "new"))
		}
		return err
	}}
	b := newLocker(t, faulty(client, f), locker.WithPrefix(prefix))
	h, err := b.TryAcquire(t.Context(), key, locker.ReadKeys(path))
	locktest.WantErr(t, err, nil)
	wantRead(t, h, "new")
	locktest.Release(t, h)
}

// givesUp makes the first of those who wait give up while the answer to a commit
// of "old", which reads for that one, is on its way; n go on waiting.
func givesUp(t *testing.T, n int) (a *locker.Locker, client *clientv3.Client, prefix string, others []func() *locker.Hold) {
	t.Helper()
	_, _, client, prefix = newPair(t)
	reading := locker.ReadKeys(key.ValuePath(prefix))
	ctx, cancel := context.WithCancel(t.Context())
	var br breaker
	f := &faults{after: func(_ context.Context, c call, err error) error {
		if br.next(c) {
			cancel()
			locktest.Until(t, "it is gone", func() bool { return locker.Waiting(a, key) == n })
		}
		return err
	}}
	a = newLocker(t, faulty(client, f), locker.WithPrefix(prefix), locker.WithRetain(time.Minute), locker.WithHandoff(100*time.Millisecond))
	commit(t, locktest.Acquire(t, a, key, reading), put(prefix, key, "first"))
	h := locktest.Acquire(t, a, key, reading)
	w := locktest.Async(t, func() error { _, err := a.Acquire(ctx, key, reading); return err })
	locktest.Until(t, "it waits", func() bool { return locker.Waiting(a, key) == 1 })
	for i := range n {
		others = append(others, acquiringIn(t, a, i+2)) // reading nothing
	}
	br.armed.Store(true)
	commit(t, h, put(prefix, key, "old"))
	locktest.WantErr(t, w(), context.Canceled)
	return a, client, prefix, others
}

func TestARetainedLockKeepsNothingThatWasReadForOneWhoGaveUp(t *testing.T) {
	t.Parallel()
	a, client, prefix, _ := givesUp(t, 0)
	path := key.ValuePath(prefix)
	if _, err := client.Put(t.Context(), path, "new"); err != nil { // a stranger
		t.Fatal(err)
	}
	h := locktest.Acquire(t, a, key, locker.ReadKeys(path))
	wantRead(t, h, "new")
	locktest.Release(t, h)
}

func TestWhatWasReadForOneWhoGaveUpIsNotForTheNext(t *testing.T) {
	t.Parallel()
	_, _, _, others := givesUp(t, 1)
	h := others[0]()
	if h.Read() != nil {
		t.Errorf("read %v without ReadKeys", h.Read())
	}
	locktest.Release(t, h)
}

func TestACommitThatNoSinglePutOrDeleteTellsIsOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	_, b, client, prefix := newPair(t)
	var br breaker
	a := newLocker(t, faulty(client, losing(true, errNet, br.next)), locker.WithPrefix(prefix), locker.WithoutBatching())
	dir := "/" + prefix + "-dir/"
	for _, op := range []clientv3.Op{
		clientv3.OpDelete(dir, clientv3.WithPrefix()),
		clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut(dir+"1", "x")}, nil),
	} {
		h := locktest.Acquire(t, a, key)
		br.armed.Store(true)
		done := locktest.Async(t, func() error { _, err := h.Commit(context.Background(), nil, op); return err })
		locktest.WantErr(t, done(), locker.ErrOutcomeUnknown)
		locktest.Release(t, locktest.Acquire(t, a, key))
		locktest.Release(t, locktest.Acquire(t, b, key))
	}
}

// What others write under the same key says nothing, be it equal or not.
func TestACommitIsToldByItsOwnRevisionNotByTheBytesOfOthers(t *testing.T) {
	t.Parallel()
	for carriedOut, others := range map[bool]string{false: "mine", true: "other"} {
		_, b, client, prefix := newPair(t)
		state := "/" + prefix + "-state" // under two locks
		other := locktest.Acquire(t, b, keyspace.MustParse("space/other"))
		var br breaker
		a := newLocker(t, faulty(client, losing(carriedOut, errNet, func(c call) bool {
			if !br.next(c) {
				return false
			}
			commit(t, other, clientv3.OpPut(state, others))
			return true
		})), locker.WithPrefix(prefix), locker.WithRetain(time.Minute), locker.WithoutBatching())
		h := locktest.Acquire(t, a, key, locker.ReadKeys(state))
		br.armed.Store(true)
		ok, err := h.Commit(t.Context(), nil, clientv3.OpPut(state, "mine"))
		if ok != carriedOut || carriedOut != (err == nil) || errors.Is(err, locker.ErrOutcomeUnknown) {
			t.Errorf("carried out=%v: got %v, %v", carriedOut, ok, err)
		}
	}
}

func TestAnUpdateOfARivalIsNotTakenForOnesOwnAfterACompaction(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"after an eviction", "after the removal"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			server := etcdtest.StartOwn(t)
			_, b, client, prefix := newPairOn(t, server.Server)
			root := server.Root(t)
			path := key.ValuePath(prefix)
			if _, err := client.Put(t.Context(), path, "5"); err != nil {
				t.Fatal(err)
			}
			rival := func() {
				h := locktest.Acquire(t, b, key, locker.ReadKeys(path))
				wantRead(t, h, "5")
				commit(t, h, put(prefix, key, "6"))
				compact(t, root, prefix)
			}
			var br, removal breaker
			f := &faults{
				before: func(_ context.Context, c call) error {
					if !br.next(c) {
						return nil
					}
					if how == "after the removal" {
						removal.armed.Store(true)
						return errNet
					}
					locktest.Evict(t, b)
					rival()
					return errNet
				},
				after: func(_ context.Context, c call, err error) error {
					if removal.next(c) {
						rival()
					}
					return err
				},
			}
			a := newLocker(t, faulty(client, f), locker.WithPrefix(prefix), locker.WithRetain(time.Minute), locker.WithoutBatching())
			h := locktest.Acquire(t, a, key, locker.ReadKeys(path))
			br.armed.Store(true)
			unchanged := clientv3.Compare(clientv3.ModRevision(path), "=", h.Read()[0].ModRevision)
			if ok, err := h.Commit(t.Context(), []clientv3.Cmp{unchanged}, put(prefix, key, "6")); ok || err == nil {
				t.Errorf("got %v, %v: two updates from 5 to %s", ok, err, valueOf(t, client, prefix, key))
			}
		})
	}
}

func TestACommitDoesNotFailForWhatALateWriteLeftInTheWayOfTheNextOne(t *testing.T) {
	t.Parallel()
	for _, tries := range []string{"one", "two, the first without an answer"} {
		t.Run(tries, func(t *testing.T) {
			t.Parallel()
			_, b, client, prefix := newPair(t)
			gate := make(chan struct{})
			var once atomic.Bool
			var br breaker
			f := &faults{
				before: func(_ context.Context, c call) error {
					if br.next(c) {
						return rpctypes.ErrLeaderChanged
					}
					return nil
				},
				late: func(c call) <-chan struct{} {
					if c.kind == "acquire" && once.CompareAndSwap(false, true) {
						return gate
					}
					return nil
				},
			}
			a := newLocker(t, faulty(client, f), locker.WithPrefix(prefix), locker.WithHandoff(0), locker.WithTTL(time.Hour), locker.WithoutBatching())
			_, err := a.Acquire(t.Context(), key)
			locktest.WantErr(t, err, errLate)
			first := locktest.Acquire(t, a, key)
			second := acquiringIn(t, a, 1)
			locktest.Release(t, first) // the second has another name
			h := second()
			close(gate)
			locktest.UntilQueued(t, b, key, 2)
			third := acquiringIn(t, a, 1) // would have the name of the late one
			br.armed.Store(tries != "one")
			commit(t, h, put(prefix, key, "mine"))
			locktest.Release(t, third())
		})
	}
}

func TestACommitDoesNotFailForWhatTheNextOneReads(t *testing.T) {
	t.Parallel()
	a, _, _, prefix := newPair(t, locker.WithHandoff(0))
	var names []string
	for i := range 32 {
		names = append(names, fmt.Sprintf("/%s-n/%d", prefix, i))
	}
	var ops []clientv3.Op
	for i := range 100 { // with the reads, more than etcd takes
		ops = append(ops, clientv3.OpPut(fmt.Sprintf("/%s-op/%d", prefix, i), "x"))
	}
	h := locktest.Acquire(t, a, key)
	next := acquiringIn(t, a, 1, locker.ReadKeys(names...))
	commit(t, h, ops...)
	locktest.Release(t, next())
}

// etcd carries out the request that exceeds its quota, and answers ErrNoSpace.
func TestACommitThatIsAnsweredNoSpaceIsResolvedAndLeavesOneHolder(t *testing.T) {
	t.Parallel()
	for _, waits := range []string{"before", "meanwhile"} {
		for _, handoff := range []time.Duration{0, 100 * time.Millisecond} {
			t.Run(fmt.Sprintf("the next one waits %s, hand-off %v", waits, handoff), func(t *testing.T) {
				t.Parallel()
				_, b, client, prefix := newPair(t)
				var a *locker.Locker
				var next func() *locker.Hold
				var br breaker
				noSpace := losing(true, rpctypes.ErrNoSpace, func(c call) bool {
					if !br.next(c) {
						return false
					}
					if waits == "meanwhile" {
						next = acquiringIn(t, a, 1)
					}
					return true
				})
				a = newLocker(t, faulty(client, noSpace), locker.WithPrefix(prefix), locker.WithHandoff(handoff), locker.WithoutBatching())
				h := locktest.Acquire(t, a, key)
				if waits == "before" {
					next = acquiringIn(t, a, 1)
				}
				br.armed.Store(true)
				commit(t, h, put(prefix, key, "mine"))
				h = next()
				_, err := b.TryAcquire(t.Context(), key)
				locktest.WantErr(t, err, locker.ErrLocked)
				locktest.WantErr(t, h.Err(), nil)
				locktest.Release(t, h)
				locktest.Release(t, locktest.Acquire(t, b, key))
			})
		}
	}
}

func TestRunHasNothingToAddToACommitWhoseLockIsLostAfterwards(t *testing.T) {
	t.Parallel()
	_, b, client, prefix := newPair(t)
	var br breaker
	f := &faults{after: func(ctx context.Context, c call, err error) error {
		if c.wrote && br.armed.Load() && valueOf(t, client, prefix, key) == "mine" && br.next(c) { // not the record of the retained lock
			_, eerr := b.Evict(ctx, key)
			locktest.WantErr(t, eerr, nil)
		}
		return err
	}}
	a := newLocker(t, faulty(client, f), locker.WithPrefix(prefix), locker.WithRetain(time.Minute))
	path := key.ValuePath(prefix)
	commit(t, locktest.Acquire(t, a, key, locker.ReadKeys(path)), put(prefix, key, "first"))
	locktest.WantErr(t, a.RunInLock(t.Context(), key, func(ctx context.Context, h *locker.Hold) error {
		br.armed.Store(true)
		commit(t, h, put(prefix, key, "mine"))
		return nil
	}, locker.ReadKeys(path)), nil)
	if got := valueOf(t, client, prefix, key); got != "mine" {
		t.Errorf("the value is %q", got)
	}
}

func TestACommitThatAStrangerUndidBeforeItWasLookedUpIsNotReportedAsNotDone(t *testing.T) {
	t.Parallel()
	for _, after := range []string{"", "theirs"} {
		_, _, client, prefix := newPair(t)
		path := key.ValuePath(prefix)
		var br breaker
		f := &faults{after: func(ctx context.Context, c call, err error) error {
			if !br.next(c) {
				return err
			}
			_, derr := client.Delete(ctx, path)
			locktest.WantErr(t, derr, nil)
			if after != "" {
				_, perr := client.Put(ctx, path, after)
				locktest.WantErr(t, perr, nil)
			}
			return errAnswer
		}}
		a := newLocker(t, faulty(client, f), locker.WithPrefix(prefix), locker.WithRetain(time.Minute))
		for range 2 { // of a value that is not there, and of one that is
			h := locktest.Acquire(t, a, key, locker.ReadKeys(path))
			br.armed.Store(true)
			done, err := h.Commit(t.Context(), nil, put(prefix, key, "mine"))
			if !done && !errors.Is(err, locker.ErrOutcomeUnknown) {
				t.Errorf("then %q: got %v, %v", after, done, err)
			}
			if _, err := client.Put(t.Context(), path, "there"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A request for the lock has changed its record, and what that was before cannot be read.
func TestACommitUnderARetainedLockThatIsAskedForIsDoneThoughThePastIsCompacted(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		a := newLocker(t, sim.NewClient("a").Client, locker.WithRetain(time.Minute))
		b := newLocker(t, sim.NewClient("b").Client)
		client := sim.NewClient("c").Client
		path := key.ValuePath(a.Prefix())
		for _, value := range []string{"first", "second"} {
			h := locktest.Acquire(t, a, key, locker.ReadKeys(path))
			if _, err := b.RequestRelease(t.Context(), key, "test"); err != nil {
				t.Fatal(err)
			}
			sim.Compact()
			commit(t, h, put(a.Prefix(), key, value))
			if got := valueOf(t, client, a.Prefix(), key); got != value {
				t.Errorf("the value is %q, want %q", got, value)
			}
		}
	})
}
