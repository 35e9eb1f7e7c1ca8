package locker_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

const (
	way     = 100 * time.Millisecond // how long etcd's answers take in these tests, in virtual time
	company = 500 * time.Microsecond // how long a release waits for others to go with
)

// failures are what a callback of WithReleaseInBackground was told.
type failures struct {
	mu  sync.Mutex
	all []error
	log locktest.Log
}

func (f *failures) told(k keyspace.Key, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e, ok := errors.AsType[*locker.Error](err); !ok || e.Key != k.String() || e.Op != "release" {
		err = fmt.Errorf("%v: not an *Error that names it: %v", k, err)
	}
	f.all = append(f.all, err)
}

// one waits until everything has come to rest, and wants one failure to be told and logged, that matches.
func (f *failures) one(t *testing.T, want error) error {
	t.Helper()
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.all) != 1 || !errors.Is(f.all[0], want) {
		t.Fatalf("told %v, want %v", f.all, want)
	}
	if n := strings.Count(f.log.String(), "a release in the background has failed"); n != 1 {
		t.Errorf("logged %d times: %v", n, f.log.String())
	}
	return f.all[0]
}

func (f *failures) none(t *testing.T) {
	t.Helper()
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.all) != 0 || strings.Contains(f.log.String(), "background has failed") {
		t.Errorf("told %v, logged %v", f.all, f.log.String())
	}
}

// inBackground runs f in virtual time, with a Locker that releases in the background and is slow, and one beside it.
func inBackground(t *testing.T, f func(t *testing.T, a, b *locker.Locker, failed *failures), opts ...locker.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		failed := new(failures)
		a, b := lockertest.NewPair(t, append(opts, locker.WithReleaseInBackground(failed.told), failed.log.Option())...)
		locktest.Must(t, a.RunInLock(t.Context(), keyspace.MustParse("first"), quickly)) // grants a lease
		time.Sleep(way)
		lockertest.SetDelay(a, way)
		f(t, a, b, failed)
	})
}

func quickly(context.Context, *locker.Hold) error { return nil }

// wantTook fails the test unless f takes exactly d.
func wantTook(t *testing.T, what string, d time.Duration, f func()) {
	t.Helper()
	began := time.Now()
	f()
	if took := time.Since(began); took != d {
		t.Errorf("%s took %v, want %v", what, took, d)
	}
}

func TestARunReturnsWhileItsReleaseIsInTheBackground(t *testing.T) {
	other := keyspace.MustParse("space/other")
	runs := map[string]func(ctx context.Context, a *locker.Locker) (h anyHold, err error){
		"RunInLock": func(ctx context.Context, a *locker.Locker) (h anyHold, err error) {
			err = a.RunInLock(ctx, key, func(_ context.Context, held *locker.Hold) error { h = held; return nil })
			return h, err
		},
		"Hold.Run": func(ctx context.Context, a *locker.Locker) (anyHold, error) {
			h, err := a.Acquire(ctx, key)
			if err != nil {
				return h, err
			}
			return h, h.Run(quickly)
		},
		"HoldSet.Run": func(ctx context.Context, a *locker.Locker) (anyHold, error) {
			h, err := a.AcquireAll(ctx, []keyspace.Key{key, other})
			if err != nil {
				return h, err
			}
			return h, h.Run(func(context.Context, *locker.HoldSet) error { return nil })
		},
		"under a fence": func(ctx context.Context, a *locker.Locker) (h anyHold, err error) {
			err = a.RunInLock(ctx, key, func(_ context.Context, held *locker.Hold) error { h = held; _ = held.Fence(); return nil })
			return h, err
		},
		"a slot": func(ctx context.Context, a *locker.Locker) (h anyHold, err error) {
			err = a.RunInLock(ctx, key, func(_ context.Context, held *locker.Hold) error { h = held; return nil }, locker.Slots(1))
			return h, err
		},
		"shared": func(ctx context.Context, a *locker.Locker) (h anyHold, err error) {
			err = a.RunInLock(ctx, key, func(_ context.Context, held *locker.Hold) error { h = held; return nil }, locker.Shared())
			return h, err
		},
		"under a context that is cancelled": func(ctx context.Context, a *locker.Locker) (h anyHold, err error) {
			ctx, cancel := context.WithCancel(ctx)
			err = a.RunInLock(ctx, key, func(_ context.Context, held *locker.Hold) error { h = held; cancel(); return nil })
			return h, err
		},
	}
	for name, run := range runs {
		for opts, with := range map[string][]locker.Option{"": nil, ", without batches": {locker.WithoutBatching()}} {
			release := company + way
			if with != nil {
				release = way
			}
			t.Run(name+opts, func(t *testing.T) {
				inBackground(t, func(t *testing.T, a, b *locker.Locker, failed *failures) {
					var h anyHold
					wantTook(t, "a lock and its unlock", way, func() {
						var err error
						h, err = run(t.Context(), a)
						locktest.Must(t, err)
					})
					locktest.WantErr(t, h.Err(), locker.ErrReleased)
					locktest.WantErr(t, context.Cause(h.Context()), locker.ErrReleased)
					_, err := a.TryAcquire(t.Context(), key)
					locktest.WantErr(t, err, locker.ErrLocked)
					wantTook(t, "a rival's lock", release-way/2, func() { locktest.Release(t, locktest.Acquire(t, b, key)) })
					wantTook(t, "a release after that", way/2, func() { locktest.Must(t, h.Release(t.Context())) })
					failed.none(t)
				}, with...)
			})
		}
	}
}

func TestTheNextAcquireHereComesAfterAReleaseInTheBackground(t *testing.T) {
	inBackground(t, func(t *testing.T, a, _ *locker.Locker, failed *failures) {
		var last locker.Token
		for i := range 3 {
			want := company + 2*way // the release before it, and its own lock
			if i == 0 {
				want = way
			}
			wantTook(t, "a lock and its unlock", want, func() {
				locktest.Must(t, a.RunInLock(t.Context(), key, func(_ context.Context, h *locker.Hold) error {
					if h.Token() <= last {
						t.Errorf("token %d after %d", h.Token(), last)
					}
					last = h.Token()
					return nil
				}))
			})
			synctest.Wait() // the release is on its way
		}
		failed.none(t)
	})
}

// A goroutine that takes the lock again at once mostly queues before its own release is sent: then it is handed on.
func TestAGoroutineMayBeHandedTheLockThatItReleasesInTheBackground(t *testing.T) {
	inBackground(t, func(t *testing.T, a, b *locker.Locker, failed *failures) {
		began := time.Now()
		for range 100 {
			locktest.Must(t, a.RunInLock(t.Context(), key, quickly))
		}
		if took := time.Since(began); took > 100*way {
			t.Errorf("100 locks and unlocks took %v", took)
		}
		locktest.Release(t, locktest.Acquire(t, b, key))
		failed.none(t)
	})
}

// told counts the ends of holds.
type told struct {
	locker.NopHook
	mu   sync.Mutex
	ends []error
}

func (h *told) HoldEnd(_ context.Context, d locker.HoldEndData) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ends = append(h.ends, d.Cause)
}

func (h *told) take() []error {
	h.mu.Lock()
	defer h.mu.Unlock()
	ends := h.ends
	h.ends = nil
	return ends
}

// What asks nothing of etcd is done when Run returns: its hooks have run, and nothing is on its way.
func TestALockThatPassesOnHereIsNotReleasedInTheBackground(t *testing.T) {
	over := func(t *testing.T, hook *told) {
		t.Helper()
		if ends := hook.take(); len(ends) != 1 {
			t.Errorf("the ends of holds: %v", ends)
		}
	}
	hook := new(told)
	t.Run("to the next goroutine", func(t *testing.T) {
		inBackground(t, func(t *testing.T, a, _ *locker.Locker, _ *failures) {
			hook.take()
			var next <-chan outcome
			locktest.Must(t, a.RunInLock(t.Context(), key, func(ctx context.Context, _ *locker.Hold) error {
				next = acquiring(context.Background(), a, key)
				synctest.Wait()
				return nil
			}))
			over(t, hook)
			var h *locker.Hold
			wantTook(t, "the hand-off", 0, func() { h = granted(t, next) })
			locktest.Release(t, h)
		}, locker.WithHook(hook))
	})
	t.Run("retained", func(t *testing.T) {
		inBackground(t, func(t *testing.T, a, b *locker.Locker, _ *failures) {
			locktest.Must(t, a.RunInLock(t.Context(), key, quickly))
			time.Sleep(way)
			synctest.Wait()
			hook.take()
			for range 3 {
				wantTook(t, "a lock and its unlock", 0, func() { locktest.Must(t, a.RunInLock(t.Context(), key, quickly)) })
				over(t, hook)
			}
			locktest.Release(t, locktest.Acquire(t, b, key))
		}, locker.WithHook(hook), locker.WithRetain(time.Hour))
	})
	t.Run("shared by others", func(t *testing.T) {
		inBackground(t, func(t *testing.T, a, _ *locker.Locker, _ *failures) {
			other := locktest.Acquire(t, a, key, locker.Shared())
			hook.take()
			wantTook(t, "a lock and its unlock", 0, func() { locktest.Must(t, a.RunInLock(t.Context(), key, quickly, locker.Shared())) })
			over(t, hook)
			locktest.Must(t, other.Err())
			locktest.Release(t, other)
		}, locker.WithHook(hook))
	})
}

// Releases go with the next lock, or with each other, in one transaction.
func TestReleasesInTheBackgroundGoTogether(t *testing.T) {
	space := keyspace.MustNew[int]("n")
	var tap locktest.Tap
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		l := locktest.New(t, tap.On(sim.NewClient("a").Client), locker.WithReleaseInBackground(nil))
		locktest.Must(t, l.RunInLock(t.Context(), space.Key(0), quickly))
		synctest.Wait() // its release has come, and waits
		tap.Reset()
		const n = 10
		for i := range n {
			locktest.Must(t, l.RunInLock(t.Context(), space.Key(i+1), quickly))
			synctest.Wait()
		}
		time.Sleep(way)
		if txns, _ := tap.Sent(); len(txns) != n+1 {
			t.Errorf("%d transactions for %d locks", len(txns), n)
		}
	})
}

// Others who want the lock do not wait for that.
func TestAReleaseInTheBackgroundOfALockThatOthersWantGoesAtOnce(t *testing.T) {
	inBackground(t, func(t *testing.T, a, b *locker.Locker, _ *failures) {
		first := locktest.Acquire(t, b, key)
		var there <-chan outcome
		time.AfterFunc(time.Second, func() { locktest.Release(t, first) }) // a waits for it in etcd
		locktest.Must(t, a.RunInLock(t.Context(), key, func(context.Context, *locker.Hold) error {
			there = acquiring(context.Background(), b, key)
			time.Sleep(time.Millisecond)
			return nil
		}))
		wantTook(t, "the hand-over", way/2, func() { locktest.Release(t, granted(t, there)) })
	})
}

// With hand-off off the lock goes to the end of the queue for the next goroutine here, and others have their turn.
func TestAReleaseInTheBackgroundQueuesForTheNextGoroutine(t *testing.T) {
	inBackground(t, func(t *testing.T, a, b *locker.Locker, failed *failures) {
		var here, there <-chan outcome
		locktest.Must(t, a.RunInLock(t.Context(), key, func(context.Context, *locker.Hold) error {
			there = acquiring(context.Background(), b, key)
			synctest.Wait()
			here = acquiring(context.Background(), a, key)
			synctest.Wait()
			return nil
		}))
		wantWaiting(t, here)
		first := granted(t, there)
		synctest.Wait()
		wantWaiting(t, here)
		locktest.Release(t, first)
		locktest.Release(t, granted(t, here))
		failed.none(t)
	}, locker.WithHandoff(0))
}

func TestCloseAndShutdownWaitForAReleaseInTheBackground(t *testing.T) {
	ends := map[string]func(a *locker.Locker) error{
		"close":    (*locker.Locker).Close,
		"shutdown": func(a *locker.Locker) error { return a.Shutdown(context.Background()) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			hook := new(told)
			inBackground(t, func(t *testing.T, a, b *locker.Locker, failed *failures) {
				locktest.Must(t, a.RunInLock(t.Context(), key, quickly))
				hook.take()
				wantTook(t, name, company+2*way, func() { locktest.Must(t, end(a)) }) // the release, and the lease
				if len(hook.take()) != 1 {
					t.Error("the end of the hold was not told")
				}
				_, err := b.TryAcquire(t.Context(), key)
				locktest.Must(t, err)
				failed.none(t)
			}, locker.WithHook(hook))
		})
	}
}

func TestCloseWaitsForNoReleaseInTheBackgroundThatEtcdDoesNotAnswer(t *testing.T) {
	for name, opts := range map[string][]locker.Option{"": nil, "without batches": {locker.WithoutBatching()}} {
		t.Run(name, func(t *testing.T) { closeWithoutEtcd(t, opts...) })
	}
}

func closeWithoutEtcd(t *testing.T, opts ...locker.Option) {
	hook := new(told)
	inBackground(t, func(t *testing.T, a, _ *locker.Locker, failed *failures) {
		locktest.Must(t, a.RunInLock(t.Context(), key, quickly))
		hook.take()
		lockertest.Disconnect(a)
		began := time.Now()
		if err := a.Close(); err == nil || time.Since(began) > 4*time.Second {
			t.Errorf("closed after %v: %v", time.Since(began), err)
		}
		if len(hook.take()) != 1 {
			t.Error("the end of the hold was not told")
		}
		synctest.Wait()
		if failed.mu.Lock(); len(failed.all) != 1 {
			t.Errorf("told %v", failed.all)
		}
		failed.mu.Unlock()
		lockertest.Reconnect(a)
	}, append(opts, locker.WithHook(hook))...)
}

// The release of a shared hold tells its hooks first. Here the Locker closes meanwhile.
func TestNoReleaseIsInTheBackgroundOnceTheLockerIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a *locker.Locker
		hook := endFunc{f: func() {
			go func() { locktest.CheckErr(t, a.Close()) }()
			<-a.Context().Done()
		}}
		failed := new(failures)
		b := lockertest.New(t)
		a = newLocker(t, lockertest.Client(b), locker.WithReleaseInBackground(failed.told), locker.WithHook(hook))
		var h *locker.Hold
		locktest.Must(t, a.RunInLock(t.Context(), key, func(_ context.Context, held *locker.Hold) error { h = held; return nil }, locker.Shared()))
		wantTook(t, "a release after that", 0, func() { locktest.Must(t, h.Release(t.Context())) })
		locktest.Release(t, locktest.Acquire(t, b, key))
		failed.none(t)
	})
}

func TestALossThatAReleaseInTheBackgroundFindsIsTold(t *testing.T) {
	hook := new(told)
	inBackground(t, func(t *testing.T, a, b *locker.Locker, failed *failures) {
		hook.take()
		var h *locker.Hold
		mine := errors.New("mine")
		err := a.RunInLock(t.Context(), key, func(_ context.Context, held *locker.Hold) error {
			h = held
			lockertest.Lose(a, key)
			return mine
		})
		if err != mine {
			t.Errorf("the run: %v", err)
		}
		synctest.Wait() // the release is on its way
		next := acquiring(t.Context(), a, key)
		time.Sleep(time.Second)
		locktest.WantLost(t, failed.one(t, locker.ErrLost), locker.ReasonKeyDeleted)
		locktest.WantLost(t, h.Err(), locker.ReasonKeyDeleted)
		locktest.WantLost(t, h.Release(t.Context()), locker.ReasonKeyDeleted)
		if ends := hook.take(); len(ends) != 1 || !errors.Is(ends[0], locker.ErrLost) {
			t.Errorf("the ends of holds: %v", ends)
		}
		locktest.Release(t, granted(t, next))
		locktest.Release(t, locktest.Acquire(t, b, key))
	}, locker.WithHook(hook))
}

func TestALossThatIsKnownIsReturnedThoughReleasesAreInTheBackground(t *testing.T) {
	lost := map[string]func(ctx context.Context, a *locker.Locker, h *locker.Hold){
		"in etcd": func(ctx context.Context, a *locker.Locker, _ *locker.Hold) {
			time.Sleep(5 * time.Second) // it is watched then
			lockertest.Lose(a, key)
			<-ctx.Done()
		},
		"by the clocks": func(_ context.Context, a *locker.Locker, h *locker.Hold) {
			locker.SetClocks(a, func() time.Time { return time.Now().Add(time.Hour) })
		},
		"held too long": func(ctx context.Context, _ *locker.Locker, _ *locker.Hold) { <-ctx.Done() },
		"closed":        func(_ context.Context, a *locker.Locker, _ *locker.Hold) { _ = a.Close() },
	}
	for name, lose := range lost {
		t.Run(name, func(t *testing.T) {
			inBackground(t, func(t *testing.T, a, b *locker.Locker, failed *failures) {
				want := locker.ErrLost
				var opts []locker.AcquireOption
				switch name {
				case "held too long":
					want, opts = locker.ErrMaxHeld, append(opts, locker.MaxHeld(time.Second))
				case "closed":
					want = locker.ErrClosed
				}
				err := a.RunInLock(t.Context(), key, func(ctx context.Context, h *locker.Hold) error {
					lose(ctx, a, h)
					return nil
				}, opts...)
				locktest.WantErr(t, err, want)
				failed.none(t)
				locktest.Release(t, locktest.Acquire(t, b, key))
			})
		})
	}
}

func TestAReleaseInTheBackgroundThatIsNotConfirmedIsToldAndTriedOn(t *testing.T) {
	inBackground(t, func(t *testing.T, a, b *locker.Locker, failed *failures) {
		wantTook(t, "a lock and its unlock", way, func() {
			locktest.Must(t, a.RunInLock(t.Context(), key, func(context.Context, *locker.Hold) error {
				lockertest.Disconnect(a)
				return nil
			}))
		})
		began := time.Now()
		synctest.Wait()
		next := acquiring(t.Context(), a, key)
		time.Sleep(4900 * time.Millisecond)
		failed.none(t)
		time.Sleep(200 * time.Millisecond)
		failed.one(t, locker.ErrUnavailable)
		wantWaiting(t, next) // the lane is closed until it is free
		lockertest.Reconnect(a)
		locktest.Release(t, granted(t, next))
		locktest.Release(t, locktest.Acquire(t, b, key))
		if free := time.Since(began); free > 12*time.Second {
			t.Errorf("free after %v: when the lease had ended", free)
		}
		failed.one(t, locker.ErrUnavailable)
	})
}

func TestALostAnswerToAReleaseInTheBackgroundIsLookedUp(t *testing.T) {
	for _, loss := range []etcdsim.Loss{etcdsim.Request, etcdsim.Answer} {
		for _, opts := range [][]locker.Option{nil, {locker.WithoutBatching()}, {locker.WithRetain(time.Minute)}} {
			simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
				failed := new(failures)
				c := sim.NewClient("a")
				a := newLocker(t, c.Client, append(opts, locker.WithReleaseInBackground(failed.told))...)
				b := newLocker(t, sim.NewClient("b").Client)
				locktest.Must(t, a.RunInLock(t.Context(), key, func(context.Context, *locker.Hold) error {
					c.SetPlan(losingOne(loss))
					return nil
				}))
				locktest.Release(t, locktest.Acquire(t, b, key))
				locktest.Must(t, a.RunInLock(t.Context(), key, quickly))
				failed.none(t)
			})
		}
	}
}

func TestTheCallbackOfAReleaseInTheBackgroundDoesNoHarm(t *testing.T) {
	end := make(chan struct{})
	calls := map[string]func(a *locker.Locker){
		"panics":  func(*locker.Locker) { panic("mine") },
		"exits":   func(*locker.Locker) { runtime.Goexit() },
		"closes":  func(a *locker.Locker) { _ = a.Close() },
		"blocks":  func(*locker.Locker) { <-end },
		"locks":   func(a *locker.Locker) { _ = a.RunInLock(context.Background(), key, quickly) },
		"nothing": nil,
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				end = make(chan struct{})
				var logged locktest.Log
				var a, b *locker.Locker
				var n atomic.Int64
				failed := func(keyspace.Key, error) { n.Add(1); call(a) }
				if call == nil {
					failed = nil
				}
				a, b = lockertest.NewPair(t, locker.WithReleaseInBackground(failed), logged.Option())
				locktest.Must(t, a.RunInLock(t.Context(), key, func(context.Context, *locker.Hold) error {
					lockertest.Lose(a, key)
					return nil
				}))
				locktest.Release(t, locktest.Acquire(t, b, key))
				if name != "closes" {
					locktest.Must(t, a.RunInLock(t.Context(), key, quickly))
				}
				time.Sleep(time.Second)
				if call != nil && n.Load() != 1 {
					t.Errorf("called %d times", n.Load())
				}
				if got := logged.String(); strings.Contains(got, "panicked") != (name == "panics") || !strings.Contains(got, "in the background has failed") {
					t.Errorf("logged %v", got)
				}
				locktest.Must(t, a.Close())
				close(end)
			})
		})
	}
}

func TestAFunctionThatDoesNotReturnIsReleasedInTheBackground(t *testing.T) {
	ends := map[string]func(){"panics": func() { panic("mine") }, "exits": runtime.Goexit}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			inBackground(t, func(t *testing.T, a, b *locker.Locker, failed *failures) {
				wantTook(t, "a lock and its unlock", way, func() {
					var wg sync.WaitGroup
					wg.Go(func() {
						p := locktest.PanicOf(func() {
							_ = a.RunInLock(t.Context(), key, func(context.Context, *locker.Hold) error { end(); return nil })
						})
						if p != "mine" {
							t.Errorf("panic %v", p)
						}
					})
					wg.Wait()
				})
				locktest.Release(t, locktest.Acquire(t, b, key))
				locktest.Release(t, locktest.Acquire(t, a, key))
				failed.none(t)
			})
		})
	}
}

func TestAHookThatEndsItsGoroutineLosesNoReleaseInTheBackground(t *testing.T) {
	for name, opts := range map[string][]locker.AcquireOption{"alone": nil, "shared": {locker.Shared()}, "slots": {locker.Slots(2)}} {
		t.Run(name, func(t *testing.T) {
			inBackground(t, func(t *testing.T, a, b *locker.Locker, _ *failures) {
				go func() { _ = a.RunInLock(t.Context(), key, quickly, opts...) }() // a shared one ends it
				time.Sleep(time.Second)
				locktest.Acquire(t, b, key)
			}, locker.WithHook(endFunc{f: runtime.Goexit}))
		})
	}
}

// Each of several locks is released for itself, and told of.
func TestEachOfSeveralLocksIsReleasedInTheBackground(t *testing.T) {
	space := keyspace.MustNew[int]("n")
	inBackground(t, func(t *testing.T, a, b *locker.Locker, failed *failures) {
		h, err := a.AcquireAll(t.Context(), []keyspace.Key{space.Key(1), space.Key(2), space.Key(3)})
		locktest.Must(t, err)
		lockertest.Lose(a, space.Key(2))
		wantTook(t, "the run", 0, func() {
			locktest.Must(t, h.Run(func(context.Context, *locker.HoldSet) error { return nil }))
		})
		time.Sleep(time.Second)
		if e, _ := errors.AsType[*locker.Error](failed.one(t, locker.ErrLost)); e.Key != space.Key(2).String() {
			t.Errorf("told of %v", e.Key)
		}
		for i := range 3 {
			_, err := b.TryAcquire(t.Context(), space.Key(i+1))
			locktest.Must(t, err)
		}
	})
}

func TestALockStaysTakenAfterAReleaseInTheBackground(t *testing.T) {
	const d = time.Minute
	inBackground(t, func(t *testing.T, a, b *locker.Locker, failed *failures) {
		began := time.Now()
		wantTook(t, "a lock and its unlock", way, func() { locktest.Must(t, a.RunInLock(t.Context(), key, quickly, locker.AtLeast(d))) })
		locktest.Must(t, a.Close()) // waits until etcd knows
		wantAfter(t, freeAfter(t, b, began), d, 2*time.Second)
		failed.none(t)
	})
}

// An explicit release tells, as ever.
func TestAnExplicitReleaseIsNotInTheBackground(t *testing.T) {
	inBackground(t, func(t *testing.T, a, _ *locker.Locker, failed *failures) {
		h := locktest.Acquire(t, a, key)
		wantTook(t, "the release", way, func() { locktest.Must(t, h.Release(t.Context())) })
		wantTook(t, "a release by the function", 2*way, func() {
			locktest.Must(t, a.RunInLock(t.Context(), key, func(ctx context.Context, h *locker.Hold) error { return h.Release(ctx) }))
		})
		h = locktest.Acquire(t, a, key)
		lockertest.Lose(a, key)
		locktest.WantLost(t, h.Release(t.Context()), locker.ReasonKeyDeleted)
		failed.none(t)
	})
}
