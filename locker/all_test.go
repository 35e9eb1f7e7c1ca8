package locker_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

var several = []keyspace.Key{keyspace.MustParse("all/a"), keyspace.MustParse("all/b"), keyspace.MustParse("all/c")}

func acquireAll(tb testing.TB, l *locker.Locker, ks ...keyspace.Key) *locker.HoldSet {
	tb.Helper()
	h, err := l.AcquireAll(context.Background(), ks)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// wantHeldAs fails the test unless all of several are held, or all are free.
func wantHeldAs(tb testing.TB, other *locker.Locker, held bool) {
	tb.Helper()
	for _, k := range several {
		h, err := other.TryAcquire(context.Background(), k)
		if errors.Is(err, locker.ErrLocked) != held {
			tb.Errorf("%v: got %v, want held: %v", k, err, held)
		}
		_ = h.Release(context.Background())
	}
}

func TestSeveralLocksAreHeldAndReleasedTogether(t *testing.T) {
	t.Parallel()
	a, b, _, prefix := newPair(t)
	h := acquireAll(t, a, several[2], several[0], several[1])
	wantHeldAs(t, b, true)
	if tokens := h.Tokens(); len(tokens) != 3 || tokens[several[1]] == 0 {
		t.Errorf("tokens %v", tokens)
	}
	fences := h.Fences()
	if len(fences) != 3 {
		t.Fatalf("%d fences", len(fences))
	}
	root := etcdtest.Start(t).Root(t) // for a key that is not under the prefix
	fenced := func(cmps ...clientv3.Cmp) bool {
		resp, err := root.Txn(t.Context()).If(cmps...).Then(clientv3.OpPut("/"+prefix+"-x", "")).Commit()
		if err != nil {
			t.Fatal(err)
		}
		return resp.Succeeded
	}
	if !fenced(fences...) {
		t.Error("the fences do not hold")
	}
	locktest.Release(t, h)
	locktest.Release(t, h)
	if fenced(fences[1:]...) {
		t.Error("the fences hold after the release")
	}
	wantHeldAs(t, b, false)
}

func TestSeveralLocksAreLostTogether(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	for i := range several {
		h := acquireAll(t, a, several...)
		if _, err := b.Evict(t.Context(), several[i]); err != nil {
			t.Fatal(err)
		}
		select {
		case <-h.Context().Done():
		case <-time.After(locktest.Wait):
			t.Fatal("the loss is not known")
		}
		locktest.WantLost(t, context.Cause(h.Context()), locker.ReasonEvicted)
		locktest.WantErr(t, h.Release(t.Context()), locker.ErrLost)
		again := acquireAll(t, b, several...) // waits until the others are freed
		locktest.Release(t, again)
	}
}

func TestSeveralLocksAreTakenByAllOrNone(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	held := locktest.Acquire(t, b, several[1])
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := a.AcquireAll(ctx, several)
	locktest.WantErr(t, err, context.DeadlineExceeded)
	locktest.Release(t, held)
	locktest.Release(t, acquireAll(t, b, several...)) // what a gave up may go a moment later
	wantHeldAs(t, b, false)
}

func TestABadListOfKeysIsRefused(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	_, err := a.AcquireAll(t.Context(), nil)
	locktest.WantErr(t, err, locker.ErrInvalidOption)
	_, err = a.AcquireAll(t.Context(), []keyspace.Key{several[0], several[1], several[0]})
	locktest.WantErr(t, err, locker.ErrInvalidOption)
	_, err = a.AcquireAll(t.Context(), []keyspace.Key{several[0], {}})
	locktest.WantErr(t, err, keyspace.ErrInvalid)
	h := acquireAll(t, a, several...)
	_, err = a.Acquire(h.Context(), several[2])
	locktest.WantErr(t, err, locker.ErrDeadlock)
	_, err = a.AcquireAll(h.Context(), []keyspace.Key{several[2]})
	locktest.WantErr(t, err, locker.ErrDeadlock)
	locktest.Release(t, h)
	wantHeldAs(t, b, false)
}

func TestTheMonitorEndsSeveralLocksTogether(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t, locker.WithMonitorTicks(10*time.Millisecond), locker.WithMaxHeldTime(20*time.Millisecond))
	h := acquireAll(t, a, several...)
	select {
	case <-h.Context().Done():
	case <-time.After(locktest.Wait):
		t.Fatal("the monitor does not end it")
	}
	locktest.WantErr(t, h.Err(), locker.ErrMaxHeld)
	ctx, cancel := context.WithTimeout(t.Context(), locktest.Wait)
	defer cancel()
	if h, err := b.AcquireAll(ctx, several); err != nil {
		t.Error(err)
	} else {
		_ = h.Release(ctx)
	}
}

func TestCallersWhoNameKeysInDifferentOrdersNeverDeadlock(t *testing.T) {
	t.Parallel()
	a, b, _, _ := newPair(t)
	ctx, cancel := context.WithTimeout(t.Context(), locktest.Wait)
	defer cancel()
	var holders [3]int // guarded by the locks
	var all []func() error
	for i := range 12 {
		l := []*locker.Locker{a, b}[i%2]
		r := rand.New(rand.NewPCG(1, uint64(i)))
		all = append(all, locktest.Async(t, func() error {
			for range 10 {
				n := 2 + r.IntN(2)
				order := r.Perm(3)[:n]
				var ks []keyspace.Key
				for _, j := range order {
					ks = append(ks, several[j])
				}
				h, err := l.AcquireAll(ctx, ks)
				if err != nil {
					return err
				}
				for _, j := range order {
					holders[j]++
					if holders[j] != 1 {
						return errors.New("two hold a key")
					}
				}
				for _, j := range order {
					holders[j]--
				}
				if err := h.Release(ctx); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	for _, done := range all {
		locktest.WantErr(t, done(), nil)
	}
}

func TestACommitUnderSeveralLocksWritesAllOrNothing(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	var paths []string
	var ops []clientv3.Op
	for _, k := range several {
		paths = append(paths, k.ValuePath(prefix))
		ops = append(ops, put(prefix, k, "x"))
	}
	reading := []locker.AcquireOption{locker.ReadKeys(paths...)}
	h, err := a.AcquireAll(t.Context(), several, reading...)
	if err != nil {
		t.Fatal(err)
	}
	if kvs := h.Read(); len(kvs) != 3 || slices.ContainsFunc(kvs, func(kv *mvccpb.KeyValue) bool { return kv != nil }) {
		t.Errorf("read %v", kvs)
	}
	if ok, err := h.Commit(t.Context(), nil, ops...); !ok || err != nil {
		t.Fatalf("got %v, %v", ok, err)
	}
	wantHeldAs(t, b, false)
	for i := range several {
		h, err := a.AcquireAll(t.Context(), several, reading...)
		if err != nil {
			t.Fatal(err)
		}
		if kvs := h.Read(); len(kvs) != 3 || slices.Contains(kvs, nil) {
			t.Errorf("read %v", kvs)
		}
		if _, err := client.Delete(t.Context(), several[i].Path(prefix), clientv3.WithPrefix()); err != nil {
			t.Fatal(err)
		}
		var more []clientv3.Op
		for _, k := range several {
			more = append(more, put(prefix, k, "y"))
		}
		if ok, err := h.Commit(t.Context(), nil, more...); ok || !errors.Is(err, locker.ErrLost) {
			t.Errorf("without %v: got %v, %v", several[i], ok, err)
		}
		wantHeldAs(t, b, false)
		for _, k := range several {
			if got := valueOf(t, client, prefix, k); got != "x" {
				t.Errorf("%v is %q", k, got)
			}
		}
	}
}

func TestAPanicWhileSeveralLocksAreAcquiredLeavesNoneHeld(t *testing.T) {
	t.Parallel()
	_, b, client, prefix := newPair(t)
	a := newLocker(t, client, locker.WithPrefix(prefix), locker.WithSuccessCallback(func(k string) {
		if k == several[1].String() {
			panic("test")
		}
	}))
	if locktest.PanicOf(func() { _, _ = a.AcquireAll(t.Context(), several) }) == nil {
		t.Fatal("it does not panic")
	}
	locktest.Release(t, acquireAll(t, b, several...))
}

// A brittleKV has an interceptor that panics once.
type brittleKV struct {
	clientv3.KV
	panics *atomic.Bool
}

func (kv brittleKV) Txn(ctx context.Context) clientv3.Txn {
	if kv.panics.CompareAndSwap(true, false) {
		panic("test")
	}
	return kv.KV.Txn(ctx)
}

func TestAPanicOfTheClientWhileSeveralLocksAreAcquiredLeavesNoneHeld(t *testing.T) {
	t.Parallel()
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c, panics := sim.NewClient("a").Client, new(atomic.Bool)
		c.KV = brittleKV{c.KV, panics}
		a := newLocker(t, c, locker.WithoutBatching())
		locktest.Release(t, locktest.Acquire(t, a, key)) // there is a lease
		panics.Store(true)
		if locktest.PanicOf(func() { _, _ = a.AcquireAll(t.Context(), several) }) == nil {
			t.Fatal("it does not panic")
		}
		locktest.Release(t, acquireAll(t, a, several...))
	})
}

func TestSeveralLocksRemainForAsLongAsTheFirstToExpire(t *testing.T) {
	t.Parallel()
	a, _, _, _ := newPair(t)
	r := locktest.Acquire(t, a, several[2], locker.Shared(), locker.TTL(2*time.Second)) // the others share this lease
	h, err := a.AcquireAll(t.Context(), several, locker.Shared(), locker.TTL(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if got := h.Remaining(); got > 3*time.Second {
		t.Errorf("%v remain, where one lock may expire in %v", got, r.Remaining())
	}
	locktest.Release(t, h)
	locktest.Release(t, r)
}
