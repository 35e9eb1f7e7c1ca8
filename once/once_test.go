package once_test

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
	"github.com/phpgao/elock/once"
)

func TestOneOfManyCallersRunsATickAndTheOthersReturnWhenItIsDone(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		runs := 0
		var wg sync.WaitGroup
		began := time.Now()
		for i := range 20 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond) // virtual: one comes after the other
				l := []*locker.Locker{a, b}[i%2]
				ran, err := once.Do(t.Context(), l, key, "1", func(ctx context.Context, h *locker.Hold) error {
					runs++
					if from, ok := locker.HoldFrom(ctx); !ok || from != h || h.Key() != key {
						t.Errorf("the function has hold %v and context of %v", h, from)
					}
					return within(time.Minute)(ctx, h)
				})
				want(t, i == 0, ran, err)
				if took := time.Since(began); took < time.Minute || took > time.Minute+time.Second {
					t.Errorf("caller %d returned after %v", i, took)
				}
			})
		}
		wg.Wait()
		if runs != 1 {
			t.Errorf("it ran %d times", runs)
		}
		wantFree(t, a)
		wantRuns(t, b, "2")
		wantDone(t, a, "2")
	})
}

func TestACallerOfATickThatIsDoneReadsOnceAndMakesNoLock(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a, f := lockertest.New(t), new(locktest.Tap)
		b := newTapped(t, a, f)
		wantRuns(t, b, "1")
		if gets, txns := sent(f); gets != 1 || txns != 3 { // the acquire, the owner's name, and the commit
			t.Errorf("a run is %d reads and %d transactions", gets, txns)
		}
		for range 3 {
			wantDone(t, b, "1")
			if gets, txns := sent(f); gets != 1 || txns != 0 {
				t.Errorf("%d reads and %d transactions", gets, txns)
			}
		}
	})
}

func TestTheMarkerTellsPeopleWhoRanWhatAndWhen(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a := lockertest.New(t, locker.WithOwner("me"))
		var token locker.Token
		for _, row := range []struct {
			opt    once.Option
			tick   string
			at     string
			offset time.Duration
		}{{once.Retake(), `1 <&> "ü"`, "done", time.Minute}, {once.Skip(), "2", "started", 0}} {
			began := time.Now()
			ran, err := once.Do(t.Context(), a, key, row.tick, func(ctx context.Context, h *locker.Hold) error {
				token = h.Token()
				return within(time.Minute)(ctx, h)
			}, row.opt)
			want(t, true, ran, err)
			var m map[string]any
			d := json.NewDecoder(strings.NewReader(stored(t, a.Client())))
			d.UseNumber()
			if err := d.Decode(&m); err != nil {
				t.Fatal(err)
			}
			at, err := time.Parse(time.RFC3339Nano, m[row.at].(string))
			if err != nil || at.Sub(began).Truncate(time.Second) != row.offset {
				t.Errorf("%s at %v, %v; want %v after %v", row.at, at, err, row.offset, began)
			}
			n, err := m["token"].(json.Number).Int64()
			if m["v"] != json.Number("1") || m["tick"] != row.tick || m["owner"] != "me" || err != nil || locker.Token(n) != token || len(m) != 5 {
				t.Errorf("the marker is %v", m)
			}
			wantDone(t, a, row.tick)
		}
	})
}

func TestAnOlderTickIsRefused(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		f := new(locktest.Tap)
		c := newTapped(t, a, f)
		wantRuns(t, a, "2")
		for _, tick := range []string{"1", "10", "1zzz"} {
			ran, err := once.Do(t.Context(), c, key, tick, never(t))
			want(t, false, ran, err, once.ErrOldTick)
			var typed *locker.Error
			if !errors.As(err, &typed) || typed.Op != "once" || typed.Key != key.String() {
				t.Errorf("got %#v", err)
			}
		}
		if _, txns := sent(f); txns != 0 {
			t.Errorf("%d transactions", txns)
		}
		// One that waits while the later tick runs.
		var wg sync.WaitGroup
		wg.Go(func() {
			ran, err := once.Do(t.Context(), a, key, "4", within(time.Minute))
			want(t, true, ran, err)
		})
		synctest.Wait()
		ran, err := once.Do(t.Context(), b, key, "3", never(t))
		want(t, false, ran, err, once.ErrOldTick)
		wg.Wait()
		wantDone(t, b, "4")
		wantRuns(t, b, "40")
	})
}

// die is a process that dies while it runs the tick: etcd hears no more of it.
func die(t *testing.T, l *locker.Locker, tick string, opts ...once.Option) {
	t.Helper()
	started := make(chan struct{})
	go once.Do(context.Background(), l, key, tick, func(ctx context.Context, _ *locker.Hold) error {
		lockertest.Disconnect(l)
		close(started)
		<-ctx.Done()
		return context.Cause(ctx)
	}, opts...)
	<-started
}

func TestATickWhoseRunDiedIsRunByTheNextCaller(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		die(t, a, "1", once.Skip(), once.Retake())
		began := time.Now()
		wantRuns(t, b, "1")
		if took := time.Since(began); took > locker.DefaultTTL+2*time.Second {
			t.Errorf("it took %v", took)
		}
		wantDone(t, b, "1")
	})
}

func TestATickWhoseRunDiedIsSkippedWithSkip(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		die(t, a, "1", once.Skip())
		began := time.Now()
		ran, err := once.Do(t.Context(), b, key, "1", never(t), once.Skip())
		want(t, false, ran, err)
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v to see that it was started", took)
		}
		ran, err = once.Do(t.Context(), b, key, "2", nothing, once.Skip())
		want(t, true, ran, err)
	})
}

func TestAFailedRunIsRetakenOrSkipped(t *testing.T) {
	for name, end := range map[string]func(*locker.Hold) error{
		"by an error": func(*locker.Hold) error { return errMine },
		"by a panic":  func(*locker.Hold) error { panic(errMine) },
		"by Goexit":   func(*locker.Hold) error { runtime.Goexit(); return nil },
		"by an error after its own release": func(h *locker.Hold) error {
			_ = h.Release(context.Background())
			return errMine
		},
	} {
		for mode, opt := range map[string]once.Option{"retake": once.Retake(), "skip": once.Skip()} {
			t.Run(name+", "+mode, func(t *testing.T) {
				locktest.Virtual(t, func(t *testing.T) {
					a, b := lockertest.NewPair(t)
					wantRuns(t, a, "1")
					before := stored(t, a.Client())
					done := make(chan struct{})
					go func() {
						defer close(done)
						defer func() {
							if p := recover(); p != nil && p != errMine {
								t.Error(p)
							}
						}()
						ran, err := once.Do(t.Context(), a, key, "2", func(_ context.Context, h *locker.Hold) error { return end(h) }, opt)
						want(t, true, ran, err, errMine)
						if err != errMine {
							t.Errorf("got error %v, want it as it is", err)
						}
					}()
					<-done
					wantFree(t, b)
					if mode == "skip" {
						wantDone(t, b, "2")
						return
					}
					if now := stored(t, a.Client()); now != before {
						t.Errorf("the marker is %s, want %s", now, before)
					}
					wantRuns(t, b, "2")
				})
			})
		}
	}
}

func TestARunThatLosesItsLockDoesNotMarkItsTick(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		// The function does not notice: it comes back when another has run the tick.
		ran, err := once.Do(t.Context(), a, key, "1", func(context.Context, *locker.Hold) error {
			lockertest.Lose(a, key)
			wantRuns(t, b, "1")
			return nil
		})
		want(t, true, ran, err, locker.ErrLost)
		before := stored(t, b.Client())
		if !strings.Contains(before, `"owner":"b"`) {
			t.Errorf("the marker is %s", before)
		}
		// Or before that.
		ran, err = once.Do(t.Context(), a, key, "2", func(context.Context, *locker.Hold) error {
			lockertest.Lose(a, key)
			return nil
		})
		want(t, true, ran, err, locker.ErrLost)
		// The function notices.
		ran, err = once.Do(t.Context(), a, key, "2", func(ctx context.Context, h *locker.Hold) error {
			lockertest.Expire(a)
			<-ctx.Done()
			return errMine
		})
		want(t, true, ran, err, locker.ErrLost, errMine)
		if now := stored(t, b.Client()); now != before {
			t.Errorf("the marker is %s, want %s", now, before)
		}
		wantRuns(t, b, "2")
	})
}

func TestWithSkipALossIsToldAndTheTickStaysMarked(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		ran, err := once.Do(t.Context(), a, key, "1", func(context.Context, *locker.Hold) error {
			lockertest.Lose(a, key)
			return nil
		}, once.Skip())
		want(t, true, ran, err, locker.ErrLost)
		wantDone(t, b, "1")
		// One that was lost before the mark does not run.
		hook := &onHold{f: func(l *locker.Locker) { lockertest.Lose(l, key) }}
		c := lockertest.New(t, locker.WithHook(hook))
		hook.l = c
		ran, err = once.Do(t.Context(), c, key, "2", never(t), once.Skip())
		want(t, false, ran, err, locker.ErrLost)
		if m := stored(t, c.Client()); m != "" {
			t.Errorf("the marker is %s", m)
		}
	})
}

// onHold calls f when the first hold begins.
type onHold struct {
	locker.NopHook
	f    func(*locker.Locker)
	l    *locker.Locker
	once sync.Once
}

func (h *onHold) HoldStart(ctx context.Context, _ locker.HoldStartData) context.Context {
	h.once.Do(func() { h.f(h.l) })
	return ctx
}

func TestATickIsMarkedThoughTheContextIsDoneWhenItsRunEnds(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		ctx, cancel := context.WithCancel(t.Context())
		ran, err := once.Do(ctx, a, key, "1", func(ctx context.Context, h *locker.Hold) error {
			cancel()
			if ctx.Err() == nil {
				t.Error("the function's context has not ended")
			}
			return nil
		})
		want(t, true, ran, err)
		wantDone(t, b, "1")
	})
}
