package guard_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// retaining returns a Locker that retains the lock of space/key, whose value its last
// update has made 1, and what it sends from now on.
func retaining(t *testing.T, s store) (*locker.Locker, *tap) {
	t.Helper()
	f := new(tap)
	l := s.lockerOn(t, tapped(s.client, f), locker.WithRetain(time.Hour))
	for range 2 { // the first release of a retained lock says so in etcd
		v, err := counter(l).Update(t.Context(), func(context.Context, int) (int, error) { return 1, nil })
		wantValue(t, v, err, 1)
	}
	f.reset()
	return l, f
}

// wantSent wants so many transactions about the value of space/key. Others may be about
// its lock: a retained one is announced anew when its watch begins.
func (f *tap) wantSent(t *testing.T, s store, txns int) {
	t.Helper()
	sent, gets := f.sent()
	n := 0
	for _, tx := range sent {
		if touches(slices.Concat(tx.thens, tx.elses), s.name()) {
			n++
		}
	}
	if n != txns || gets != 0 {
		t.Errorf("%d transactions about the value and %d reads, want %d and none", n, gets, txns)
	}
	f.reset()
}

// touches reports whether one of ops is about the key.
func touches(ops []clientv3.Op, name string) bool {
	return slices.ContainsFunc(ops, func(op clientv3.Op) bool {
		if op.IsTxn() {
			_, thens, elses := op.Txn()
			return touches(slices.Concat(thens, elses), name)
		}
		return string(op.KeyBytes()) == name
	})
}

// inMemory runs a test in virtual time, on an etcd in memory.
func inMemory(t *testing.T, f func(t *testing.T, s store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := lockertest.New(t)
		f(t, store{client: lockertest.Client(l), prefix: locker.DefaultPrefix})
	})
}

func TestAnUpdateUnderARetainedLockIsOneTransaction(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l, f := retaining(t, s)
	for n := 2; n < 10; n++ {
		v, err := counter(l).Update(t.Context(), increment)
		wantValue(t, v, err, n)
		f.wantSent(t, s, 1)
	}
	v, err := counter(s.locker(t)).Update(t.Context(), increment) // takes the lock away
	wantValue(t, v, err, 10)
	v, err = counter(l).Update(t.Context(), increment)
	wantValue(t, v, err, 11)
}

func TestAnUpdateUnderARetainedLockRunsAgainAfterAStrangersWrite(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(t *testing.T, s store)
		want   []int // that the function is given
		after  int
	}{
		"changed":     {func(t *testing.T, s store) { s.put(t, "8") }, []int{1, 8}, 9},
		"as it was":   {func(t *testing.T, s store) { s.put(t, "1") }, []int{1, 1}, 2},
		"deleted":     {func(t *testing.T, s store) { s.delete(t) }, []int{1, 0}, 1},
		"not changed": {func(*testing.T, store) {}, []int{1}, 2},
	} {
		for how, first := range map[string]error{"stores": nil, "fails": errMine} {
			t.Run(name+", and the function "+how, func(t *testing.T) {
				t.Parallel()
				inMemory(t, func(t *testing.T, s store) {
					l, _ := retaining(t, s)
					c.change(t, s)
					var given []int
					v, err := counter(l).Update(t.Context(), func(_ context.Context, n int) (int, error) {
						given = append(given, n)
						if len(given) == 1 {
							return n + 1, first
						}
						return n + 1, nil
					})
					if !slices.Equal(given, c.want) {
						t.Errorf("the function got %v, want %v", given, c.want)
					}
					if first != nil && len(c.want) == 1 {
						wantErr(t, err, errMine)
						return
					}
					wantValue(t, v, err, c.after)
				})
			})
		}
	}
}

// The second time, the value was read: then it is as under any lock.
func TestAStrangersSecondWriteFencesAnUpdateUnderARetainedLockOff(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, s store) {
		l, _ := retaining(t, s)
		runs := 0
		_, err := counter(l).Update(t.Context(), func(_ context.Context, n int) (int, error) {
			runs++
			s.put(t, "7")
			return n + 1, nil
		})
		wantErr(t, err, guard.ErrFenced)
		if runs != 2 {
			t.Errorf("the function ran %d times, want 2", runs)
		}
		s.wantStored(t, key, "7")
	})
}

func TestAnUpdateThatCommitsItselfUnderARetainedLockRunsOnce(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, s store) {
		l, _ := retaining(t, s)
		runs := 0
		_, err := counter(l).Update(t.Context(), func(ctx context.Context, n int) (int, error) {
			runs++
			h, _ := locker.HoldFrom(ctx)
			done, err := h.Commit(ctx, nil, clientv3.OpPut(s.name(), "7"))
			if !done || err != nil {
				t.Errorf("Commit: %v, %v", done, err)
			}
			return 0, errMine
		})
		wantErr(t, err, errMine)
		if runs != 1 {
			t.Errorf("the function ran %d times, want 1", runs)
		}
		v, err := counter(l).Update(t.Context(), increment)
		wantValue(t, v, err, 8)
	})
}

// What else happens under the retained lock is seen.
func TestWhatIsKnownUnderARetainedLockIsWhatWasStoredLast(t *testing.T) {
	t.Parallel()
	text := func(l *locker.Locker) *guard.Guard[string] {
		return guard.New(l, key, guard.Stored(guard.Bytes[string]()))
	}
	commit := func(t *testing.T, l *locker.Locker, ops ...clientv3.Op) {
		t.Helper()
		h, err := l.Acquire(t.Context(), key, locker.ReadKeys(string(ops[0].KeyBytes())))
		if err == nil {
			_, err = h.Commit(t.Context(), nil, ops...)
		}
		wantErr(t, err, nil)
	}
	large := strings.Repeat("x", 20<<10)
	for name, c := range map[string]struct {
		before func(t *testing.T, s store, l *locker.Locker)
		want   string
	}{
		"another guard with another codec": {func(t *testing.T, _ store, l *locker.Locker) {
			_, err := text(l).Update(t.Context(), func(_ context.Context, s string) (string, error) { return s + "!", nil })
			wantErr(t, err, nil)
		}, "1!"},
		"a large value": {func(t *testing.T, _ store, l *locker.Locker) {
			_, err := text(l).Update(t.Context(), func(context.Context, string) (string, error) { return large, nil })
			wantErr(t, err, nil)
		}, large},
		"an empty value": {func(t *testing.T, _ store, l *locker.Locker) {
			_, err := text(l).Update(t.Context(), func(context.Context, string) (string, error) { return "", nil })
			wantErr(t, err, nil)
		}, ""},
		"a deletion": {func(t *testing.T, _ store, l *locker.Locker) { wantErr(t, text(l).Delete(t.Context()), nil) }, ""},
		"a commit":   {func(t *testing.T, s store, l *locker.Locker) { commit(t, l, clientv3.OpPut(s.name(), "x")) }, "x"},
		"a commit that leaves the value as it is": {func(t *testing.T, s store, l *locker.Locker) {
			commit(t, l, clientv3.OpPut(s.name(), "", clientv3.WithIgnoreValue()))
		}, "1"},
		"a hold that writes nothing": {func(t *testing.T, _ store, l *locker.Locker) {
			wantErr(t, l.RunInLock(t.Context(), key, func(context.Context, *locker.Hold) error { return nil }), nil)
		}, "1"},
		"an update whose function spoils what it gets": {func(t *testing.T, _ store, l *locker.Locker) {
			_, err := text(l).Update(t.Context(), func(ctx context.Context, _ string) (string, error) {
				h, _ := locker.HoldFrom(ctx)
				h.Read()[0].Value[0] = 'y'
				return "", errMine
			})
			wantErr(t, err, errMine)
		}, "1"},
		"another process": {func(t *testing.T, s store, _ *locker.Locker) {
			_, err := text(s.lockerOn(t, s.client)).Update(t.Context(), func(_ context.Context, s string) (string, error) { return s + "2", nil })
			wantErr(t, err, nil)
		}, "12"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inMemory(t, func(t *testing.T, s store) {
				l, _ := retaining(t, s)
				c.before(t, s, l)
				runs := 0
				got, err := text(l).Update(t.Context(), func(_ context.Context, cur string) (string, error) { runs++; return cur, nil })
				wantValue(t, got, err, c.want)
				if runs != 1 {
					t.Errorf("the function ran %d times", runs)
				}
			})
		})
	}
}

func TestAViewUnderARetainedLockReads(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, s store) {
		l, _ := retaining(t, s)
		s.put(t, "7")
		wantErr(t, counter(l).View(t.Context(), func(_ context.Context, n int) error {
			if n != 7 {
				t.Errorf("got %d, want 7", n)
			}
			return nil
		}), nil)
	})
}
