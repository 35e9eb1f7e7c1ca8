package once_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
	"github.com/phpgao/elock/once"
)

var foreign = map[string]string{
	"text":            "7",
	"nothing":         "",
	"JSON":            "{}",
	"no tick":         `{"v":1}`,
	"no version":      `{"tick":"0"}`,
	"a later version": `{"v":2,"tick":"0"}`,
	"other types":     `{"v":"1","tick":0}`,
}

func TestAForeignMarkerIsAnErrorAndStaysAsItIs(t *testing.T) {
	for name, value := range foreign {
		t.Run(name, func(t *testing.T) {
			locktest.Virtual(t, func(t *testing.T) {
				a, b := lockertest.NewPair(t)
				put(t, a, value)
				ran, err := once.Do(t.Context(), a, key, "1", never(t))
				want(t, false, ran, err, once.ErrMarker)
				// It may also come while a caller waits.
				wantErr(t, once.Forget(t.Context(), a, key))
				h, err := a.Acquire(t.Context(), key)
				wantErr(t, err)
				var wg sync.WaitGroup
				wg.Go(func() {
					ran, err := once.Do(t.Context(), b, key, "1", never(t))
					want(t, false, ran, err, once.ErrMarker)
				})
				synctest.Wait()
				put(t, a, value)
				wantErr(t, h.Release(t.Context()))
				wg.Wait()
				if now := stored(t, a.Client()); now != value {
					t.Errorf("the marker is %s", now)
				}
				wantFree(t, a)
			})
		})
	}
}

func TestAMarkerThatIsChangedWithoutTheLockStaysAsItIs(t *testing.T) {
	for mode, opt := range map[string]once.Option{"retake": once.Retake(), "skip": once.Skip()} {
		for _, before := range []bool{true, false} {
			t.Run(mode, func(t *testing.T) {
				locktest.Virtual(t, func(t *testing.T) {
					hook := &onHold{f: func(l *locker.Locker) { put(t, l, "7") }}
					a := lockertest.New(t, locker.WithHook(hook))
					hook.l = a
					if before {
						put(t, a, `{"v":1,"tick":"0"}`)
					}
					ran, err := once.Do(t.Context(), a, key, "1", nothing, opt)
					want(t, mode == "retake", ran, err, once.ErrMarker)
					if now := stored(t, a.Client()); now != "7" {
						t.Errorf("the marker is %s", now)
					}
					wantFree(t, a)
				})
			})
		}
	}
}

func TestAfterForgetAnyTickRuns(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		wantErr(t, once.Forget(t.Context(), a, key)) // there is none
		wantFree(t, b)
		wantRuns(t, a, "2")
		wantErr(t, once.Forget(t.Context(), b, key))
		if m := stored(t, a.Client()); m != "" {
			t.Errorf("the marker is %s", m)
		}
		wantFree(t, a)
		wantRuns(t, a, "1")
		put(t, a, "foreign")
		wantErr(t, once.Forget(t.Context(), b, key))
		wantRuns(t, a, "1")
	})
}

func TestForgetWaitsForATickThatIsBeingRun(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		var wg sync.WaitGroup
		wg.Go(func() {
			ran, err := once.Do(t.Context(), a, key, "1", within(time.Minute))
			want(t, true, ran, err)
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantErr(t, once.Forget(ctx, b, key), context.DeadlineExceeded, locker.ErrLocked)
		wantErr(t, once.Forget(t.Context(), b, key))
		wg.Wait()
		wantRuns(t, b, "1")
	})
}
