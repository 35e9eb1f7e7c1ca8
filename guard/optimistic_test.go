package guard_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// alone returns a guard of a stored number that is updated without its lock.
func alone(l *locker.Locker) *guard.Guard[int] { return counter(l, guard.Optimistic[int]()) }

// stopper returns a function that adds one, waits for the test before it returns, and counts its runs.
type stopper struct {
	runs    atomic.Int64
	entered chan int // what it got
	leave   chan struct{}
}

func newStopper() *stopper { return &stopper{entered: make(chan int), leave: make(chan struct{})} }

func (s *stopper) increment(_ context.Context, n int) (int, error) {
	s.runs.Add(1)
	s.entered <- n
	<-s.leave
	return n + 1, nil
}

func TestAnUpdateWithoutTheLockIsAReadAndATransactionAndThenATransaction(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]locker.Option{"": nil, "one by one": {locker.WithoutBatching()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			f := new(tap)
			g := alone(s.lockerOn(t, tapped(s.Client(t), f), opts...))
			s.put(t, "0")
			for n := 1; n < 5; n++ {
				f.reset()
				v, err := g.Update(t.Context(), func(ctx context.Context, n int) (int, error) {
					if h, ok := locker.HoldFrom(ctx); ok {
						t.Errorf("the function has %v", h)
					}
					wantFree(t, s.locker(t)) // for other processes
					return n + 1, nil
				})
				wantValue(t, v, err, n)
				if n == 1 {
					f.wantSent(t, s, 2)
				} else {
					f.wantSent(t, s, 1)
				}
			}
			f.reset()
			wantErr(t, g.Delete(t.Context()), nil)
			f.wantSent(t, s, 1)
			s.wantAbsent(t)
			wantErr(t, g.Delete(t.Context()), nil)
			var held bool
			v, err := g.Update(t.Context(), func(ctx context.Context, n int) (int, error) {
				_, held = locker.HoldFrom(ctx)
				return n + 1, nil
			})
			wantValue(t, v, err, 1)
			if !held {
				t.Error("a value that was not there is stored without the lock")
			}
		})
	}
}

func TestNoUpdateWithoutTheLockIsLost(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]locker.Option{
		"with hand-off":  nil,
		"with retaining": {locker.WithRetain(time.Second)},
		"one by one":     {locker.WithHandoff(0), locker.WithoutBatching()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const each, workers, processes = 20, 3, 3
			s := newStore(t)
			watched := watch(t, t.Context(), counter(s.locker(t)))
			wantYields(t, watched, absent)
			var wg sync.WaitGroup
			for i := range processes {
				l := s.locker(t, opts...)
				for j := range workers {
					g := alone(l)
					if (i+j)%4 == 0 {
						g = counter(l) // others take the lock
					}
					wg.Go(func() {
						for range each {
							if _, err := g.Update(t.Context(), increment); err != nil {
								t.Error(err)
							}
						}
					})
				}
			}
			wg.Wait()
			for n := range each * workers * processes {
				wantYields(t, watched, n+1)
			}
			wantFree(t, s.locker(t))
		})
	}
}

// While a function runs without the lock, somebody else changes the value: it runs again under the lock.
func TestAnUpdateWithoutTheLockThatComesTooLateTakesIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(t *testing.T, s store)
		after  int
	}{
		"another without the lock": {func(t *testing.T, s store) {
			v, err := alone(s.lockerOn(t, s.client)).Update(t.Context(), increment)
			wantValue(t, v, err, 8)
		}, 9},
		"another with the lock": {func(t *testing.T, s store) {
			v, err := counter(s.lockerOn(t, s.client)).Update(t.Context(), increment)
			wantValue(t, v, err, 8)
		}, 9},
		"a stranger":         {func(t *testing.T, s store) { s.put(t, "20") }, 21},
		"a stranger as ever": {func(t *testing.T, s store) { s.put(t, "7") }, 8},
		"one that deletes": {func(t *testing.T, s store) {
			wantErr(t, alone(s.lockerOn(t, s.client)).Delete(t.Context()), nil)
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inMemory(t, func(t *testing.T, s store) {
				s.put(t, "7")
				var holds []bool
				v, err := alone(s.lockerOn(t, s.client)).Update(t.Context(), func(ctx context.Context, n int) (int, error) {
					_, held := locker.HoldFrom(ctx)
					if holds = append(holds, held); len(holds) == 1 {
						c.change(t, s)
					}
					return n + 1, nil
				})
				wantValue(t, v, err, c.after)
				if !slices.Equal(holds, []bool{false, true}) {
					t.Errorf("the function had the lock: %v, want not at first and then", holds)
				}
			})
		})
	}
}

func TestAnUpdateWithoutTheLockWaitsForOneWhoHoldsIt(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]locker.AcquireOption{"alone": nil, "shared": {locker.Shared()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inMemory(t, func(t *testing.T, s store) {
				s.put(t, "7")
				a, b := s.lockerOn(t, s.client), s.lockerOn(t, s.client)
				for _, elsewhere := range []bool{true, false} {
					by := a
					if elsewhere {
						by = b
					}
					h := locktest.Acquire(t, by, key, opts...)
					updated := make(chan error, 1)
					go func() {
						_, err := alone(a).Update(t.Context(), increment)
						updated <- err
					}()
					time.Sleep(time.Minute)
					synctest.Wait()
					if len(updated) != 0 {
						t.Fatalf("it did not wait: %v", <-updated)
					}
					locktest.Release(t, h)
					wantErr(t, receive(t, updated), nil)
				}
				s.wantStored(t, key, "9")
			})
		})
	}
}

// The lock is taken while a function runs without it: the commit must not come before the release.
func TestAnUpdateWithoutTheLockIsNotCommittedWhileAnotherHoldsIt(t *testing.T) {
	t.Parallel()
	for name, known := range map[string]bool{"known": true, "read": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inMemory(t, func(t *testing.T, s store) {
				s.put(t, "7")
				a, b := s.lockerOn(t, s.client), s.lockerOn(t, s.client)
				if known {
					v, err := alone(a).Update(t.Context(), func(context.Context, int) (int, error) { return 7, nil })
					wantValue(t, v, err, 7)
				}
				st := newStopper()
				updated := make(chan error, 1)
				go func() {
					_, err := alone(a).Update(t.Context(), st.increment)
					updated <- err
				}()
				receive(t, st.entered)
				h := locktest.Acquire(t, b, key)
				st.leave <- struct{}{}
				time.Sleep(time.Second)
				synctest.Wait()
				s.wantStored(t, key, "7")
				locktest.Release(t, h)
				receive(t, st.entered)
				st.leave <- struct{}{}
				wantErr(t, receive(t, updated), nil)
				s.wantStored(t, key, "8")
			})
		})
	}
}

// What a process has written last is not read again. If it is old, the function runs with what is stored.
func TestWhatWasWrittenWithoutTheLockIsKnown(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]error{"the function stores": nil, "the function fails": errMine} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inMemory(t, func(t *testing.T, s store) {
				f := new(tap)
				a := s.lockerOn(t, tapped(s.client, f))
				s.put(t, "0")
				v, err := alone(a).Update(t.Context(), increment)
				wantValue(t, v, err, 1)
				s.put(t, "7")
				var given []int
				next := func(_ context.Context, n int) (int, error) {
					if given = append(given, n); len(given) == 1 {
						return n + 1, first
					}
					return n + 1, nil
				}
				v, err = alone(a).Update(t.Context(), next)
				wantValue(t, v, err, 8)
				if !slices.Equal(given, []int{1, 7}) {
					t.Errorf("the function got %v, want 1 and 7", given)
				}
				// It was old: it is not trusted, until it proves to be right.
				for n, txns := range []int{2, 1} {
					f.reset()
					v, err = alone(a).Update(t.Context(), increment)
					wantValue(t, v, err, 9+n)
					f.wantSent(t, s, txns)
				}
				// An error about what is stored comes back.
				runs := 0
				_, err = alone(a).Update(t.Context(), func(context.Context, int) (int, error) { runs++; return 0, errMine })
				if err != errMine || runs != 1 {
					t.Errorf("got error %v after %d runs", err, runs)
				}
			})
		})
	}
}

func TestAnUpdateWithoutTheLockThatFailsStoresNothing(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := s.locker(t)
	g := alone(l)
	rev := s.put(t, "7")
	failing(t, s, l, g, rev)
	for _, c := range map[string]struct {
		codec lame
		want  error
	}{"decode": {lame{unmarshal: errMine}, guard.ErrDecode}, "encode": {lame{marshal: errMine}, guard.ErrEncode}} {
		_, err := guard.New(l, key, guard.Stored[int](c.codec), guard.Optimistic[int]()).Update(t.Context(), increment)
		wantErr(t, err, c.want, errMine)
		wantOp(t, err, "update")
		s.wantUntouched(t, rev)
	}
	_, err := guard.New(l, key, guard.Stored(guard.Bytes[string]()), guard.Optimistic[string]()).Update(t.Context(),
		func(context.Context, string) (string, error) { return strings.Repeat("x", 3<<20), nil })
	wantErr(t, err, guard.ErrTooLarge)
	s.wantUntouched(t, rev)
}

func TestGoroutinesOfOneLockerDoNotUpdateWithoutTheLockAtOnce(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, s store) {
		a := s.lockerOn(t, s.client)
		var running, runs atomic.Int64
		var wg sync.WaitGroup
		const n = 64
		for range n {
			wg.Go(func() {
				_, err := alone(a).Update(t.Context(), func(_ context.Context, n int) (int, error) {
					if running.Add(1) > 1 {
						t.Error("two run at once")
					}
					defer running.Add(-1)
					runs.Add(1)
					time.Sleep(time.Millisecond)
					return n + 1, nil
				})
				wantErr(t, err, nil)
			})
		}
		wg.Wait()
		s.wantStored(t, key, "64")
		if runs.Load() != n {
			t.Errorf("%d runs for %d updates", runs.Load(), n)
		}
	})
}

func TestAnAcquireUnderAnUpdateWithoutTheLockIsADeadlock(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, s store) {
		a := s.lockerOn(t, s.client)
		var leaked context.Context
		_, err := alone(a).Update(t.Context(), func(ctx context.Context, n int) (int, error) {
			leaked = ctx
			_, err := alone(a).Update(ctx, increment)
			wantErr(t, err, locker.ErrDeadlock)
			_, err = counter(a).Update(ctx, increment)
			wantErr(t, err, locker.ErrDeadlock)
			_, err = a.Acquire(ctx, key)
			wantErr(t, err, locker.ErrDeadlock)
			_, err = a.AcquireAll(ctx, []keyspace.Key{key, numbers.Key(1)})
			wantErr(t, err, locker.ErrDeadlock)
			_, err = a.TryAcquire(ctx, key)
			wantErr(t, err, locker.ErrLocked)
			_, err = guard.New(a, numbers.Key(1), guard.Stored(guard.JSON[int]()), guard.Optimistic[int]()).Update(ctx, func(ctx context.Context, n int) (int, error) {
				_, err := alone(a).Update(ctx, increment)
				wantErr(t, err, locker.ErrDeadlock)
				return n + 1, nil
			})
			wantErr(t, err, nil)
			return n + 1, nil
		})
		wantErr(t, err, nil)
		locktest.Release(t, locktest.Acquire(t, a, key)) // the mark is gone with the update
		h, err := a.Acquire(context.WithoutCancel(leaked), key)
		wantErr(t, err, nil)
		_, err = alone(a).Update(h.Context(), increment)
		wantErr(t, err, locker.ErrDeadlock)
		locktest.Release(t, h)
	})
}

func TestCloseEndsAnUpdateWithoutTheLock(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, s store) {
		s.put(t, "7")
		a := s.lockerOn(t, s.client)
		_, err := alone(a).Update(t.Context(), func(ctx context.Context, n int) (int, error) {
			wantErr(t, a.Close(), nil)
			receive(t, ctx.Done())
			wantErr(t, context.Cause(ctx), locker.ErrClosed)
			return n + 1, nil
		})
		wantErr(t, err, guard.ErrFenced, locker.ErrClosed)
		s.wantStored(t, key, "7")
		_, err = alone(a).Update(t.Context(), increment)
		wantErr(t, err, locker.ErrClosed)
	})
}

func TestShutdownWaitsForAnUpdateWithoutTheLock(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, s store) {
		a := s.lockerOn(t, s.client)
		st := newStopper()
		updated, down := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := alone(a).Update(t.Context(), st.increment)
			updated <- err
		}()
		receive(t, st.entered)
		go func() { down <- a.Shutdown(t.Context()) }()
		time.Sleep(time.Minute)
		if len(down) > 0 {
			t.Errorf("it did not wait: %v", <-down)
		}
		st.leave <- struct{}{}
		wantErr(t, receive(t, updated), nil)
		wantErr(t, receive(t, down), nil)
		s.wantStored(t, key, "1")
	})
}

func TestOptimisticNeedsAStoredValue(t *testing.T) {
	t.Parallel()
	a := lockertest.New(t)
	for name, g := range map[string]*guard.Guard[int]{
		"none":  guard.New(a, key, guard.Optimistic[int]()),
		"bound": guard.New(a, key, guard.Optimistic[int](), guard.Bind[int](new(shelf))),
	} {
		_, err := g.Update(t.Context(), increment)
		if !errors.Is(err, locker.ErrInvalidOption) {
			t.Errorf("%s: got error %v", name, err)
		}
	}
	for name, opt := range map[string]locker.AcquireOption{"shared": locker.Shared(), "a bad TTL": locker.TTL(-1), "none": nil} {
		_, err := counter(a, guard.Optimistic[int](), guard.Acquiring[int](opt)).Update(t.Context(), increment)
		if !errors.Is(err, locker.ErrInvalidOption) {
			t.Errorf("%s: got error %v", name, err)
		}
	}
	_, err := counter(a, guard.Optimistic[int](), guard.Acquiring[int](locker.ReadKeys("x"))).Update(t.Context(), func(ctx context.Context, n int) (int, error) {
		if h, ok := locker.HoldFrom(ctx); !ok || len(h.Read()) != 2 {
			t.Errorf("the function has %v", h)
		}
		return n + 1, nil
	})
	wantErr(t, err, nil)
}

func TestOptionalWithoutTheLock(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, s store) {
		g := guard.New(s.lockerOn(t, s.client), key, guard.Optional(guard.JSON[int]()), guard.Optimistic[*int]())
		set := func(to *int) func(context.Context, *int) (*int, error) {
			return func(context.Context, *int) (*int, error) { return to, nil }
		}
		for range 2 {
			_, err := g.Update(t.Context(), set(nil))
			wantErr(t, err, nil)
			s.wantAbsent(t)
			one := 1
			_, err = g.Update(t.Context(), set(&one))
			wantErr(t, err, nil)
			s.wantStored(t, key, "1")
		}
		_, err := g.Update(t.Context(), set(nil))
		wantErr(t, err, nil)
		s.wantAbsent(t)
	})
}
