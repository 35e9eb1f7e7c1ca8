package guard_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

var (
	numbers = keyspace.MustNew[int]("number")
	names   = keyspace.MustNew[string]("name")
)

// number and name are guards of stored values of two types.
func number(l *locker.Locker, id int) *guard.Guard[int] {
	return guard.New(l, numbers.Key(id), guard.Stored(guard.JSON[int]()))
}

func name(l *locker.Locker, id string) *guard.Guard[string] {
	return guard.New(l, names.Key(id), guard.Stored(guard.Bytes[string]()))
}

// wantAllFree fails the test unless nobody holds the keys or waits for them.
func wantAllFree(tb testing.TB, l *locker.Locker, keys ...keyspace.Key) {
	tb.Helper()
	for _, k := range keys {
		h, err := l.TryAcquire(context.Background(), k)
		if err != nil {
			tb.Errorf("%v is not free: %v", k, err)
		}
		if err := h.Release(context.Background()); err != nil {
			tb.Error(err)
		}
	}
}

func TestTwoValuesAreStoredInOneCommit(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := s.locker(t)
	n, a := number(l, 1), name(l, "a")
	for i := range 3 {
		err := guard.Update2(t.Context(), a, n, func(ctx context.Context, a string, n int) (string, int, error) {
			if n != i || len(a) != i {
				t.Errorf("the function gets %q, %d", a, n)
			}
			h, _ := locker.HoldSetFrom(ctx)
			if len(h.Tokens()) != 2 {
				t.Errorf("the hold has tokens %v", h.Tokens())
			}
			return a + "x", n + 1, nil
		})
		wantErr(t, err, nil)
		wantAllFree(t, s.locker(t), n.Key(), a.Key())
	}
	nv, err := n.GetVersion(t.Context())
	wantVersion(t, nv, err, 3)
	av, err := a.GetVersion(t.Context())
	wantValue(t, av, err, guard.Version[string]{Value: "xxx", Revision: nv.Revision})
}

func TestManyValuesAreStoredInOneCommitInTheirOrder(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := s.locker(t)
	var all []*guard.Guard[int]
	for _, id := range rand.Perm(32) {
		all = append(all, number(l, id))
	}
	for round := range 2 {
		err := guard.UpdateN(t.Context(), all, func(_ context.Context, values []int) ([]int, error) {
			for i := range values {
				if values[i] != i*round {
					t.Errorf("value %d is %d", i, values[i])
				}
				values[i] = i
			}
			return values, nil
		})
		wantErr(t, err, nil)
	}
	first := int64(0)
	for i, g := range all {
		v, err := g.GetVersion(t.Context())
		wantVersion(t, v, err, i)
		if first == 0 {
			first = v.Revision
		}
		wantValue(t, v.Revision, nil, first)
	}
	wantErr(t, guard.UpdateN(t.Context(), all[:1], func(_ context.Context, values []int) ([]int, error) {
		return []int{values[0] + 100}, nil
	}), nil)
	v, err := all[0].Get(t.Context())
	wantValue(t, v, err, 100)
}

func TestTransfersBetweenManyAccountsInAnyOrderKeepTheirTotal(t *testing.T) {
	t.Parallel()
	const accounts, workers, each, processes = 4, 4, 15, 2
	s := newStore(t)
	var wg sync.WaitGroup
	for p := range processes {
		l := s.locker(t)
		for w := range workers {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(p), uint64(w)))
				for range each {
					pick := rng.Perm(accounts)
					err := guard.Update2(t.Context(), number(l, pick[0]), number(l, pick[1]), func(_ context.Context, from, to int) (int, int, error) {
						return from - 1, to + 1, nil
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Go(func() { // all at once, now and then
			for range each {
				err := guard.UpdateN(t.Context(), []*guard.Guard[int]{number(l, 3), number(l, 0), number(l, 2), number(l, 1)},
					func(_ context.Context, values []int) ([]int, error) {
						total := 0
						for _, v := range values {
							total += v
						}
						if total != 0 {
							t.Errorf("the total is %d", total)
						}
						return values, nil
					})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	resp, err := s.client.Get(t.Context(), "/"+s.prefix+"/number:/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, kv := range resp.Kvs {
		n, err := strconv.Atoi(string(kv.Value))
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	if total != 0 || len(resp.Kvs) != accounts {
		t.Errorf("%d accounts with a total of %d", len(resp.Kvs), total)
	}
}

func TestWhateverHappensToOneOfTwoValuesNeitherIsStored(t *testing.T) {
	t.Parallel()
	put := func(t *testing.T, s store, k keyspace.Key, value string) {
		if _, err := s.client.Put(t.Context(), s.nameOf(k), value); err != nil {
			t.Error(err)
		}
	}
	evict := func(t *testing.T, s store, k keyspace.Key) {
		if done, err := s.locker(t).Evict(t.Context(), k); !done || err != nil {
			t.Errorf("Evict: %v, %v", done, err)
		}
	}
	one, two := numbers.Key(1), numbers.Key(2)
	rows := map[string]struct {
		during func(t *testing.T, s store, cancel func()) error
		want   []error
	}{
		"the first lock is lost":   {func(t *testing.T, s store, _ func()) error { evict(t, s, one); return nil }, []error{guard.ErrFenced, locker.ErrLost}},
		"the second lock is lost":  {func(t *testing.T, s store, _ func()) error { evict(t, s, two); return nil }, []error{guard.ErrFenced, locker.ErrLost}},
		"both locks are lost":      {func(t *testing.T, s store, _ func()) error { evict(t, s, one); evict(t, s, two); return nil }, []error{guard.ErrFenced, locker.ErrLost}},
		"the first value changes":  {func(t *testing.T, s store, _ func()) error { put(t, s, one, "10"); return nil }, []error{guard.ErrFenced}},
		"the second value changes": {func(t *testing.T, s store, _ func()) error { put(t, s, two, "20"); return nil }, []error{guard.ErrFenced}},
		"the function fails":       {func(*testing.T, store, func()) error { return errMine }, []error{errMine}},
		"the context is done":      {func(_ *testing.T, _ store, cancel func()) error { cancel(); return nil }, []error{context.Canceled}},
	}
	for name, r := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			l := s.locker(t)
			put(t, s, one, "10")
			put(t, s, two, "20")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := guard.Update2(ctx, number(l, 1), number(l, 2), func(_ context.Context, a, b int) (int, int, error) {
				return a + b, a - b, r.during(t, s, cancel)
			})
			wantErr(t, err, r.want...)
			s.wantStored(t, one, "10")
			s.wantStored(t, two, "20")
			wantAllFree(t, s.locker(t), one, two)
		})
	}
}

func TestAnUpdateOfSeveralTellsWhichValueDoesNotDecodeOrEncode(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := s.locker(t)
	never := func(context.Context, int, int) (int, int, error) { t.Error("it ran"); return 0, 0, nil }
	same := func(_ context.Context, a, b int) (int, int, error) { return a, b, nil }
	good, bad := number(l, 1), func(c lame) *guard.Guard[int] { return guard.New(l, key, guard.Stored[int](c)) }
	s.put(t, "7")
	err := guard.Update2(t.Context(), good, bad(lame{unmarshal: errMine}), never)
	wantErr(t, err, guard.ErrDecode, errMine)
	wantOp(t, err, "update")
	err = guard.Update2(t.Context(), bad(lame{marshal: errMine}), good, same)
	wantErr(t, err, guard.ErrEncode, errMine)
	wantOp(t, err, "update")
	err = guard.UpdateN(t.Context(), []*guard.Guard[int]{good, bad(lame{marshal: errMine})}, func(_ context.Context, all []int) ([]int, error) { return all, nil })
	wantErr(t, err, guard.ErrEncode, errMine)
	wantOp(t, err, "update")
	s.wantStored(t, key, "7")
	wantAllFree(t, s.locker(t), good.Key(), key)
}

func TestBadInputToAnUpdateOfSeveralIsRefusedBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	f := new(tap)
	l, other := s.lockerOn(t, tapped(s.Client(t), f)), s.locker(t)
	n := number(l, 1)
	two := func(a, b *guard.Guard[int]) error {
		return guard.Update2(t.Context(), a, b, func(context.Context, int, int) (int, int, error) { panic("it ran") })
	}
	many := func(all ...*guard.Guard[int]) error {
		return guard.UpdateN(t.Context(), all, func(context.Context, []int) ([]int, error) { panic("it ran") })
	}
	plain, unstored := guard.New[int](l, numbers.Key(2)), guard.New(l, numbers.Key(2), guard.Bind[int](new(shelf)))
	var lots []*guard.Guard[int]
	for i := range 33 {
		lots = append(lots, number(l, i))
	}
	rows := map[string]struct{ err, want error }{
		"the same guard twice": {two(n, n), locker.ErrInvalidOption},
		"the same key twice":   {two(n, number(l, 1)), locker.ErrInvalidOption},
		"one of three twice":   {many(n, number(l, 2), number(l, 1)), locker.ErrInvalidOption},
		"another Locker":       {two(n, number(other, 2)), locker.ErrInvalidOption},
		"nil":                  {two(n, nil), locker.ErrInvalidOption},
		"nil first":            {two(nil, n), locker.ErrInvalidOption},
		"none":                 {many(), locker.ErrInvalidOption},
		"too many":             {many(lots...), locker.ErrInvalidOption},
		"no resource":          {two(n, plain), guard.ErrNoResource},
		"a bound value":        {many(unstored, n), guard.ErrNoResource},
	}
	for name, r := range rows {
		var e *locker.Error
		if !errors.Is(r.err, r.want) || !errors.As(r.err, &e) {
			t.Errorf("%s: got error %v, want %v", name, r.err, r.want)
		}
	}
	if txns, gets := f.sent(); len(txns) != 0 || gets != 0 {
		t.Errorf("%d transactions and %d reads were sent", len(txns), gets)
	}
}

func TestAnUpdateOfSeveralThatReturnsAnotherNumberOfValuesStoresNothing(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := s.locker(t)
	for _, values := range [][]int{nil, {1}, {1, 2, 3}} {
		err := guard.UpdateN(t.Context(), []*guard.Guard[int]{number(l, 1), number(l, 2)}, func(context.Context, []int) ([]int, error) {
			return slices.Clone(values), nil
		})
		wantErr(t, err, locker.ErrInvalidOption)
		for id := range 3 {
			v, err := number(l, id).GetVersion(t.Context())
			wantVersion(t, v, err, absent)
		}
		wantAllFree(t, s.locker(t), numbers.Key(1), numbers.Key(2))
	}
}

func TestAnUncontendedUpdateOfTwoIsTwoTransactionsAndNoOtherCall(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	f := new(tap)
	l := s.lockerOn(t, tapped(s.Client(t), f))
	for range 3 {
		f.reset()
		wantErr(t, guard.Update2(t.Context(), number(l, 1), number(l, 2), func(_ context.Context, a, b int) (int, int, error) {
			return a + 1, b + 1, nil
		}), nil)
		txns, gets := f.sent()
		commits := 0
		for _, tx := range txns {
			if tx.puts(s.nameOf(numbers.Key(1))) && tx.puts(s.nameOf(numbers.Key(2))) {
				commits++
			}
		}
		if len(txns) > 2 || commits != 1 || gets != 0 {
			t.Errorf("it is %d transactions, %d of them commits, and %d reads", len(txns), commits, gets)
		}
	}
}
