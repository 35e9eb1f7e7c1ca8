package locker_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// A runway is a Locker whose transactions go together once two of them hang, as
// they do from occupy on until its end.
type runway struct {
	*locker.Locker
	other *locker.Locker
	armed atomic.Bool
	alone atomic.Int32 // acquires that went alone, from occupy on
}

// newRunway returns one whose calls go through before, from occupy on.
func newRunway(t *testing.T, before func(ctx context.Context, c call) error) *runway {
	t.Helper()
	r := &runway{other: lockertest.New(t)}
	gate := make(chan struct{})
	t.Cleanup(func() { close(gate) })
	f := &faults{before: func(ctx context.Context, c call) error {
		switch {
		case !r.armed.Load():
		case c.kind == "acquire" && r.alone.Add(1) <= 2:
			select {
			case <-gate:
			case <-ctx.Done():
			}
		default:
			return before(ctx, c)
		}
		return nil
	}}
	r.Locker = locktest.New(t, faulty(lockertest.Client(r.other), f), locker.WithTTL(time.Hour))
	locktest.Release(t, locktest.Acquire(t, r.Locker, key)) // grants the lease
	return r
}

func (r *runway) occupy(t *testing.T) {
	r.armed.Store(true)
	var occupants sync.WaitGroup
	t.Cleanup(occupants.Wait)
	for _, name := range []string{"x", "y"} {
		occupants.Go(func() {
			if h, err := r.Acquire(t.Context(), keyspace.MustParse(name)); err == nil {
				_ = h.Release(context.Background())
			}
		})
		synctest.Wait()
	}
}

func TestABatchThatIsSentTwiceAndThenRefusedIsNotTakenForRefused(t *testing.T) {
	two := []keyspace.Key{keyspace.MustParse("one"), keyspace.MustParse("two")}
	newTwice := func(t *testing.T) *runway {
		var n atomic.Int32
		return newRunway(t, func(_ context.Context, c call) error {
			switch {
			case c.kind != "batch":
			case n.Add(1) == 1:
				return c.again() // the answer to the first delivery is lost
			case n.Load() == 2:
				return rpctypes.ErrTooManyRequests
			}
			return nil
		})
	}
	t.Run("acquire", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newTwice(t)
			r.occupy(t)
			var got []func() *locker.Hold
			for _, k := range two {
				got = append(got, locktest.Async(t, func() *locker.Hold { return locktest.Acquire(t, r.Locker, k) }))
			}
			for i, k := range two {
				h := got[i]() // what the first delivery has put
				q, err := r.other.Inspect(t.Context(), k)
				if locktest.Must(t, err); len(q.Holders) != 1 || q.Holders[0].Token != h.Token() {
					t.Errorf("holds %d; etcd has %+v", h.Token(), q.Holders)
				}
				locktest.Release(t, h)
				q, err = r.other.Inspect(t.Context(), k)
				if locktest.Must(t, err); len(q.Holders) > 0 {
					t.Errorf("%v is held by %+v", k, q.Holders)
				}
			}
		})
	})
	t.Run("commit", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newTwice(t)
			var done []func() bool
			holds := []*locker.Hold{locktest.Acquire(t, r.Locker, two[0]), locktest.Acquire(t, r.Locker, two[1])}
			r.occupy(t)
			for i, h := range holds {
				done = append(done, locktest.Async(t, func() bool {
					ok, err := h.Commit(t.Context(), nil, put(locker.DefaultPrefix, two[i], "new"))
					return ok && err == nil
				}))
			}
			for i := range done {
				if !done[i]() || valueOf(t, lockertest.Client(r.other), locker.DefaultPrefix, two[i]) != "new" {
					t.Errorf("%v: told as not done", two[i])
				}
			}
		})
	})
}

func TestACallIsEndedWhenNobodyWaitsForItsPartOfABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var batches, hung atomic.Int32
		var r *runway
		r = newRunway(t, func(ctx context.Context, c call) error {
			switch {
			case c.kind == "batch" && batches.Add(1) == 1:
				return rpctypes.ErrPermissionDenied // to whom, is found out in halves
			case c.kind == "acquire" && r.alone.Load() == 4: // the second half
				hung.Add(1)
				<-ctx.Done()
				hung.Add(-1)
				return ctx.Err()
			}
			return nil
		})
		r.occupy(t)
		ctx, cancel := context.WithCancel(t.Context())
		first := locktest.Async(t, func() error { _, err := r.Acquire(t.Context(), keyspace.MustParse("one")); return err })
		synctest.Wait()
		second := locktest.Async(t, func() error { _, err := r.Acquire(ctx, keyspace.MustParse("two")); return err })
		locktest.WantErr(t, first(), nil)
		synctest.Wait()
		if hung.Load() != 1 {
			t.Fatal("the second half does not hang")
		}
		cancel()
		locktest.WantErr(t, second(), context.Canceled)
		time.Sleep(time.Second)
		if synctest.Wait(); hung.Load() != 0 {
			t.Error("the call goes on")
		}
	})
}
