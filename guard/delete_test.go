package guard_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/locker"
)

func TestDelete(t *testing.T) {
	t.Parallel()
	t.Run("stored", func(t *testing.T) {
		t.Parallel()
		s := newStore(t)
		f := new(tap)
		g := counter(s.lockerOn(t, tapped(s.Client(t), f)))
		w := watch(t, t.Context(), counter(s.locker(t)))
		wantYields(t, w, absent)
		for _, value := range []string{"7", "0", "it does not decode"} {
			s.put(t, value)
			receive(t, w)
			f.reset()
			wantErr(t, g.Delete(t.Context()), nil)
			if txns, gets := f.sent(); len(txns) != 2 || gets != 0 || !txns[1].deletes(s.name()) {
				t.Errorf("it is %d transactions and %d reads: %+v", len(txns), gets, txns)
			}
			wantYields(t, w, absent)
			v, err := g.GetVersion(t.Context())
			wantVersion(t, v, err, absent)
			s.wantAbsent(t)
			wantFree(t, s.locker(t))
		}
		n, err := g.Update(t.Context(), increment)
		wantValue(t, n, err, 1)
	})
	t.Run("not stored", func(t *testing.T) {
		t.Parallel()
		s := newStore(t)
		g := counter(s.locker(t))
		s.put(t, "7")
		for range 3 {
			wantErr(t, g.Delete(t.Context()), nil)
			s.wantAbsent(t)
			wantFree(t, s.locker(t))
		}
	})
	t.Run("waits for the lock", func(t *testing.T) {
		t.Parallel()
		s := newStore(t)
		a, b := s.locker(t), s.locker(t)
		s.put(t, "7")
		release := occupy(t, b)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := counter(a).Delete(ctx)
		wantErr(t, err, context.DeadlineExceeded, locker.ErrLocked)
		s.wantStored(t, key, "7")
		release()
		wantErr(t, counter(a).Delete(t.Context()), nil)
		s.wantAbsent(t)
	})
	t.Run("within an update", func(t *testing.T) {
		t.Parallel()
		s := newStore(t)
		g := counter(s.locker(t))
		_, err := g.Update(t.Context(), func(ctx context.Context, n int) (int, error) { return n, g.Delete(ctx) })
		wantErr(t, err, locker.ErrDeadlock)
	})
	t.Run("under a shared lock", func(t *testing.T) {
		t.Parallel()
		s := newStore(t)
		s.put(t, "7")
		for _, o := range []locker.AcquireOption{locker.Shared(), locker.Slots(2)} {
			err := counter(s.locker(t), guard.Acquiring[int](o)).Delete(t.Context())
			wantErr(t, err, locker.ErrInvalidOption)
			wantOp(t, err, "delete")
			s.wantStored(t, key, "7")
		}
	})
	t.Run("bound", func(t *testing.T) {
		t.Parallel()
		s := newStore(t)
		f := new(tap)
		err := guard.New(s.lockerOn(t, tapped(s.Client(t), f)), key, guard.Bind[int](new(shelf))).Delete(t.Context())
		wantErr(t, err, guard.ErrNoResource)
		wantOp(t, err, "delete")
		if txns, gets := f.sent(); len(txns) != 0 || gets != 0 {
			t.Errorf("%d transactions and %d reads were sent", len(txns), gets)
		}
	})
}

// onDelete returns a tap that has f answer the first transaction which deletes space/key.
func onDelete(s store, f func(ctx context.Context, send send) (answer, error)) *tap {
	var once atomic.Bool
	return &tap{around: func(ctx context.Context, t txn, send send) (answer, error) {
		if t.deletes(s.name()) && once.CompareAndSwap(false, true) {
			return f(ctx, send)
		}
		return send(ctx)
	}}
}

// What happens between the acquire and the commit of a Delete.
func TestDeleteFenced(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		during func(t *testing.T, s store)
		want   []error
		stored string
	}{
		"evicted":                  {func(t *testing.T, s store) { evict(t, s.locker(t)) }, []error{guard.ErrFenced, locker.ErrLost}, "7"},
		"changed":                  {func(t *testing.T, s store) { s.put(t, "8") }, []error{guard.ErrFenced}, "8"},
		"deleted and stored again": {func(t *testing.T, s store) { s.delete(t); s.put(t, "7") }, []error{guard.ErrFenced}, "7"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			s.put(t, "7")
			f := onDelete(s, func(ctx context.Context, send send) (answer, error) { row.during(t, s); return send(ctx) })
			err := counter(s.lockerOn(t, tapped(s.Client(t), f))).Delete(t.Context())
			wantErr(t, err, row.want...)
			wantOp(t, err, "delete")
			s.wantStored(t, key, row.stored)
			wantFree(t, s.locker(t))
		})
	}
}

// optional returns a guard of a stored number, nil where there is none.
func optional(l *locker.Locker, id int) *guard.Guard[*int] {
	return guard.New(l, numbers.Key(id), guard.Optional(guard.JSON[int]()))
}

func TestOptional(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := s.locker(t)
	g := optional(l, 1)
	w := watch(t, t.Context(), number(l, 1))
	wantYields(t, w, absent)
	// update stores next, or deletes if it is nil, and wants cur before that.
	update := func(cur, next *int) {
		t.Helper()
		got, err := g.Update(t.Context(), func(_ context.Context, n *int) (*int, error) {
			if (n == nil) != (cur == nil) || n != nil && *n != *cur {
				t.Errorf("the function gets %v, want %v", n, cur)
			}
			return next, nil
		})
		wantErr(t, err, nil)
		if got != next {
			t.Errorf("it returns %v, want %v", got, next)
		}
		now, err := g.Get(t.Context())
		if err != nil || (now == nil) != (next == nil) || now != nil && *now != *next {
			t.Errorf("got %v, %v; want %v", now, err, next)
		}
		v, err := g.GetVersion(t.Context())
		if err != nil || v.Stored() != (next != nil) || v.Stored() != (v.Value != nil) {
			t.Errorf("got %+v, %v", v, err)
		}
		wantAllFree(t, s.locker(t), g.Key())
	}
	zero, seven := 0, 7
	update(nil, nil)
	update(nil, &zero)
	update(&zero, &seven)
	update(&seven, nil)
	update(nil, &seven)
	wantYields(t, w, 0, 7, absent, 7)

	// A value moves from one key to another, in one commit.
	other := optional(l, 2)
	wantErr(t, guard.Update2(t.Context(), g, other, func(_ context.Context, from, to *int) (*int, *int, error) {
		return to, from, nil
	}), nil)
	v, err := number(l, 1).GetVersion(t.Context())
	wantVersion(t, v, err, absent)
	v, err = number(l, 2).GetVersion(t.Context())
	wantVersion(t, v, err, 7)
	wantYields(t, w, absent)
	wantErr(t, guard.UpdateN(t.Context(), []*guard.Guard[*int]{g, other}, func(_ context.Context, all []*int) ([]*int, error) {
		all[0], all[1] = all[1], nil
		return all, nil
	}), nil)
	wantYields(t, w, 7)
	wantErr(t, g.Delete(t.Context()), nil)
	wantYields(t, w, absent)

	bad := guard.New(l, key, guard.Optional[int](nil))
	_, err = bad.Get(t.Context())
	wantErr(t, err, locker.ErrInvalidOption)
	s.put(t, "seven")
	_, err = guard.New(l, key, guard.Optional(guard.JSON[int]())).Get(t.Context())
	wantErr(t, err, guard.ErrDecode)
}

func TestOptionalFenced(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	g := guard.New(s.locker(t), key, guard.Optional(guard.JSON[int]()))
	s.put(t, "7")
	_, err := g.Update(t.Context(), func(context.Context, *int) (*int, error) { s.put(t, "8"); return nil, nil })
	wantErr(t, err, guard.ErrFenced)
	s.wantStored(t, key, "8")
}

// An update that finds nothing and stores nothing has nothing to commit.
func TestOptionalNothing(t *testing.T) {
	t.Parallel()
	nothing := func(during func()) map[string]func(l *locker.Locker) error {
		return map[string]func(l *locker.Locker) error{
			"Update": func(l *locker.Locker) error {
				_, err := optional(l, 1).Update(t.Context(), func(context.Context, *int) (*int, error) { during(); return nil, nil })
				return err
			},
			"UpdateN": func(l *locker.Locker) error {
				return guard.UpdateN(t.Context(), []*guard.Guard[*int]{optional(l, 1), optional(l, 2)}, func(_ context.Context, all []*int) ([]*int, error) {
					during()
					return all, nil
				})
			},
		}
	}
	for _, name := range []string{"Update", "UpdateN"} {
		t.Run(name+"/free", func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			path := numbers.Key(1).ValuePath(s.prefix)
			f := &tap{around: func(ctx context.Context, tx txn, send send) (answer, error) {
				if tx.deletes(path) {
					t.Error("a deletion was sent")
				}
				return send(ctx)
			}}
			wantErr(t, nothing(func() {})[name](s.lockerOn(t, tapped(s.Client(t), f))), nil)
			wantAllFree(t, s.locker(t), numbers.Key(1), numbers.Key(2))
		})
		t.Run(name+"/lost", func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			l := s.locker(t)
			err := nothing(func() { wantErr(t, l.Close(), nil) })[name](l)
			wantErr(t, err, guard.ErrFenced, locker.ErrClosed)
		})
	}
}
