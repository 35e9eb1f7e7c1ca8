package once_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
	"github.com/phpgao/elock/once"
)

// first has f answer the first transaction that marks a tick, and only that.
func first(name string, f func(ctx context.Context, send send) (answer, error)) *locktest.Tap {
	var done atomic.Bool
	return &locktest.Tap{Around: func(ctx context.Context, t locktest.Txn, send send) (answer, error) {
		if marks(t, name) && done.CompareAndSwap(false, true) {
			return f(ctx, send)
		}
		return send(ctx)
	}}
}

// On a real etcd.
func TestALostAnswerToTheMarkIsLookedUp(t *testing.T) {
	t.Parallel()
	for name, row := range locktest.Losses {
		for mode, opt := range map[string]once.Option{"retake": once.Retake(), "skip": once.Skip()} {
			t.Run(name+", "+mode, func(t *testing.T) {
				t.Parallel()
				s := etcdtest.Start(t)
				prefix := s.Prefix(t)
				client := s.Client(t)
				f := first(key.ValuePath(prefix)+"%once", row.Lose)
				a, b := locktest.New(t, f.On(client), locker.WithPrefix(prefix)), locktest.New(t, s.Client(t), locker.WithPrefix(prefix))
				runs := 0
				count := func(context.Context, *locker.Hold) error { runs++; return nil }
				ran, err := once.Do(t.Context(), a, key, "1", count, opt)
				if !ran {
					t.Error("it did not run")
				}
				// A request that was lost as an error is an error of the commit: the tick is not marked.
				if err != nil && (row.CarriedOut || mode == "skip" || errors.Is(err, locker.ErrOutcomeUnknown)) {
					t.Errorf("got error %v", err)
				}
				want := 1
				if err != nil {
					want = 2
				}
				for range 2 {
					if _, err := once.Do(t.Context(), b, key, "1", count, opt); err != nil {
						t.Error(err)
					}
				}
				if runs != want {
					t.Errorf("it ran %d times, want %d", runs, want)
				}
			})
		}
	}
}

// On a real etcd: three processes, whose clocks are wrong, and one dies.
func TestProcessesWithSkewedClocksRunEachTickOnce(t *testing.T) {
	t.Parallel()
	const ticks, every = 40, time.Minute
	s := etcdtest.Start(t)
	prefix := s.Prefix(t)
	base := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	var mu sync.Mutex
	runs := make(map[string]int)
	var wg sync.WaitGroup
	for _, skew := range []time.Duration{-29 * time.Second, 0, 29 * time.Second} {
		l := locktest.New(t, s.Client(t), locker.WithPrefix(prefix))
		wg.Go(func() {
			for n := range ticks {
				tick := once.At(base.Add(time.Duration(n)*every+skew), every)
				ran, err := once.Do(t.Context(), l, key, tick, func(context.Context, *locker.Hold) error { return nil })
				mu.Lock()
				if ran && err == nil {
					runs[tick]++
				}
				mu.Unlock()
				if err != nil && !errors.Is(err, once.ErrOldTick) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if len(runs) != ticks {
		t.Errorf("%d ticks were run, want %d", len(runs), ticks)
	}
	for tick, n := range runs {
		if n != 1 {
			t.Errorf("%s was run %d times", tick, n)
		}
	}
}

// On a real etcd.
func TestAUserMayBeRefusedTheMarker(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.StartAuth(t, etcdtest.AuthConfig{})
	etcd.Grant(t, key.Path(locker.DefaultPrefix)[1:len(key.Path(locker.DefaultPrefix))-1])
	l := locktest.New(t, etcd.Client(t))
	ran, err := once.Do(t.Context(), l, key, "1", never(t))
	want(t, false, ran, err, rpctypes.ErrPermissionDenied)
}

func TestTheOutcomeIsUnknownOnlyWhileEtcdStaysSilent(t *testing.T) {
	for name, carriedOut := range map[string]bool{"carried out": true, "not carried out": false} {
		for mode, opt := range map[string]once.Option{"retake": once.Retake(), "skip": once.Skip()} {
			t.Run(name+", "+mode, func(t *testing.T) {
				locktest.Virtual(t, func(t *testing.T) {
					a, b := lockertest.NewPair(t)
					f := first(path, func(ctx context.Context, send send) (answer, error) {
						if carriedOut {
							_, _ = send(ctx)
						}
						lockertest.Disconnect(a)
						return nil, locktest.ErrAnswer
					})
					l := newTapped(t, a, f)
					began := time.Now()
					ran, err := once.Do(t.Context(), l, key, "1", nothing, opt)
					want(t, mode == "retake", ran, err, locker.ErrOutcomeUnknown)
					if errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("got %v, and the context is alive", err)
					}
					if took := time.Since(began); took > locker.DefaultTTL+time.Second {
						t.Errorf("it took %v", took)
					}
					lockertest.Reconnect(a)
					// Another Do finds out.
					ran, err = once.Do(t.Context(), b, key, "1", nothing, opt)
					want(t, !carriedOut, ran, err)
					wantDone(t, b, "1")
				})
			})
		}
	}
}

func TestWithSkipAMarkThatWasWrittenOverBeforeItWasLookedUpIsNotReportedAsNotDone(t *testing.T) {
	for name, over := range map[string]func(t *testing.T, a, b *locker.Locker){
		"by a later tick": func(t *testing.T, a, b *locker.Locker) {
			if _, err := a.Evict(t.Context(), key); err != nil {
				t.Error(err)
			}
			wantRuns(t, b, "2")
		},
		"by a stranger": func(t *testing.T, a, _ *locker.Locker) { put(t, a, "7") },
	} {
		t.Run(name, func(t *testing.T) {
			locktest.Virtual(t, func(t *testing.T) {
				a, b := lockertest.NewPair(t)
				l := newTapped(t, a, first(path, func(ctx context.Context, send send) (answer, error) {
					resp, err := send(ctx)
					if err != nil || !resp.Succeeded {
						t.Error("it was not carried out")
					}
					over(t, a, b)
					return nil, locktest.ErrAnswer
				}))
				ran, err := once.Do(t.Context(), l, key, "1", never(t), once.Skip())
				want(t, false, ran, err, locker.ErrOutcomeUnknown)
			})
		})
	}
}

func TestAMarkThatArrivesLateMarksNothing(t *testing.T) {
	for mode, opt := range map[string]once.Option{"retake": once.Retake(), "skip": once.Skip()} {
		t.Run(mode, func(t *testing.T) {
			locktest.Virtual(t, func(t *testing.T) {
				a, b := lockertest.NewPair(t)
				late := make(chan func() (answer, error), 1)
				var lost atomic.Bool
				f := &locktest.Tap{Around: func(ctx context.Context, txn locktest.Txn, send send) (answer, error) {
					if !marks(txn, path) || lost.Swap(true) {
						return send(ctx)
					}
					late <- func() (answer, error) { return send(context.Background()) }
					<-ctx.Done()
					return nil, ctx.Err()
				}}
				l := newTapped(t, a, f)
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				_, err := once.Do(ctx, l, key, "1", nothing, opt)
				wantErr(t, err, context.DeadlineExceeded)
				wantRuns(t, b, "1")
				before := stored(t, b.Client())
				if len(late) == 0 {
					t.Fatal("nothing was sent")
				}
				resp, err := (<-late)()
				if err != nil || resp.Succeeded {
					t.Errorf("it was carried out: %v", err)
				}
				if now := stored(t, b.Client()); now != before {
					t.Errorf("the marker is %s, want %s", now, before)
				}
			})
		})
	}
}

func TestWithoutEtcdDoEndsSoonAfterItsContext(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a := lockertest.New(t)
		lockertest.Disconnect(a)
		for _, limit := range []time.Duration{100 * time.Millisecond, 3 * time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			began := time.Now()
			ran, err := once.Do(ctx, a, key, "1", never(t))
			want(t, false, ran, err, context.DeadlineExceeded, locker.ErrUnavailable)
			if took := time.Since(began); took > limit+time.Second {
				t.Errorf("it took %v", took)
			}
		}
	})
}

func TestAFirstReadWithoutAnswerDelaysARunAndNoMore(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a := lockertest.New(t)
		f := &locktest.Tap{Get: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		l := newTapped(t, a, f)
		began := time.Now()
		wantRuns(t, l, "1")
		wantDone(t, l, "1")
		f.Get = func(context.Context) error { return locktest.ErrAnswer }
		wantRuns(t, l, "2")
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestAnEtcdWithoutSpaceMarksNothing(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a := lockertest.New(t)
		f := &locktest.Tap{Around: func(ctx context.Context, txn locktest.Txn, send send) (answer, error) {
			if marks(txn, path) {
				return nil, rpctypes.ErrNoSpace
			}
			return send(ctx)
		}}
		l := newTapped(t, a, f)
		began := time.Now()
		ran, err := once.Do(t.Context(), l, key, "1", never(t), once.Skip())
		want(t, false, ran, err, locker.ErrOutcomeUnknown, locker.ErrUnavailable, rpctypes.ErrNoSpace)
		if took := time.Since(began); took > 7*time.Second {
			t.Errorf("it took %v", took)
		}
		synctest.Wait()
		wantRuns(t, a, "1")
	})
}
