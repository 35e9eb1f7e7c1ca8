package xctx

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

var errMine = errors.New("mine")

// virtual runs f in virtual time.
func virtual(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// wantTook fails the test unless f takes exactly d.
func wantTook(t *testing.T, d time.Duration, f func()) {
	t.Helper()
	began := time.Now()
	f()
	if took := time.Since(began); took != d {
		t.Errorf("it took %v, want %v", took, d)
	}
}

// wantDone fails the test unless ctx is done after d, and not before.
func wantDone(t *testing.T, ctx context.Context, d time.Duration) {
	t.Helper()
	wantTook(t, d, func() {
		select {
		case <-ctx.Done():
		case <-time.After(time.Hour):
			t.Error("it does not end")
		}
	})
}

func TestPatienceGrowsToFiveSeconds(t *testing.T) {
	t.Parallel()
	var all time.Duration
	for n := range 100 {
		p := Patience(n)
		if n > 0 && p < Patience(n-1) || p < time.Second || p > 5*time.Second {
			t.Errorf("try %d waits for %v", n, p)
		}
		if all += p; n == 3 && all != 5*time.Second {
			t.Errorf("the first four tries take %v", all)
		}
	}
	if p := Patience(99); p != 5*time.Second {
		t.Errorf("the last try waits for %v", p)
	}
}

func TestPausesDoubleUpToASecondAndEndWithTheContext(t *testing.T) {
	virtual(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		wait := FirstPause
		for want := FirstPause; want < 100*maxPause; want *= 2 {
			wantTook(t, min(want, maxPause), func() { wait = Pause(ctx, wait) })
		}
		time.AfterFunc(300*time.Millisecond, cancel)
		wantTook(t, 300*time.Millisecond, func() { Pause(ctx, time.Hour) })
		wantTook(t, 0, func() { Pause(ctx, time.Hour) })
	})
}

func TestAwaitEndsWithTheChannelOrTheTime(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := make(chan struct{})
		wantTook(t, time.Second, func() { Await(c, time.Second) })
		time.AfterFunc(time.Second, func() { close(c) })
		wantTook(t, time.Second, func() { Await(c, time.Hour) })
		wantTook(t, 0, func() { Await(c, time.Hour) })
	})
}

func TestMergeEndsWithTheFirstAndHasTheCauseOfTheOther(t *testing.T) {
	virtual(t, func(t *testing.T) {
		type key struct{}
		base := context.WithValue(t.Context(), key{}, "value")

		a, endA := context.WithCancelCause(base)
		b, endB := context.WithCancelCause(t.Context())
		ctx, stop := Merge(a, b)
		if ctx.Value(key{}) != "value" {
			t.Error("it has not the values of the first")
		}
		time.AfterFunc(time.Second, func() { endB(errMine) })
		wantDone(t, ctx, time.Second)
		if ctx.Err() != context.Canceled || context.Cause(ctx) != errMine {
			t.Errorf("got %v, cause %v", ctx.Err(), context.Cause(ctx))
		}
		stop()

		b = t.Context()
		ctx, stop = Merge(a, b)
		defer stop()
		time.AfterFunc(time.Second, func() { endA(errMine) })
		wantDone(t, ctx, time.Second)
		if context.Cause(ctx) != errMine {
			t.Errorf("cause %v", context.Cause(ctx))
		}
	})
}

func TestMergeThatIsStoppedEndsAndForgetsTheOther(t *testing.T) {
	virtual(t, func(t *testing.T) {
		other, end := context.WithCancelCause(t.Context())
		ctx, stop := Merge(t.Context(), other)
		stop()
		wantDone(t, ctx, 0)
		end(errMine)
		synctest.Wait()
		if context.Cause(ctx) != context.Canceled {
			t.Errorf("cause %v", context.Cause(ctx))
		}
	})
}

func TestAfterEndsSoMuchLater(t *testing.T) {
	virtual(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantDone(t, After(ctx, 3*time.Second), 4*time.Second)
		wantDone(t, After(ctx, 3*time.Second), 3*time.Second) // it has ended already
	})
}

func TestALimiterSharesTheContextsOfFirstTriesForAMoment(t *testing.T) {
	virtual(t, func(t *testing.T) {
		parent, cancel := context.WithCancelCause(t.Context())
		m := NewLimiter(parent)
		if m.Parent() != parent {
			t.Error("another parent")
		}
		first := m.Within(0)
		time.Sleep(share / 2)
		if m.Within(0) != first {
			t.Error("it is not shared")
		}
		time.Sleep(share / 2)
		second := m.Within(0)
		if second == first {
			t.Error("it is shared for too long")
		}
		if _, ok := first.Deadline(); ok {
			t.Error("its deadline would go to etcd with each call")
		}
		wantDone(t, first, Patience(0)-share)
		wantDone(t, second, share)
		if m.Within(1) == m.Within(1) {
			t.Error("those of later tries are shared")
		}
		for n := 1; n < 8; n++ {
			wantDone(t, m.Within(n), Patience(n))
		}
		wantDone(t, m.For(7*time.Second), 7*time.Second)
		later := []context.Context{m.Within(0), m.Within(3), m.For(time.Hour)}
		cancel(errMine)
		for _, ctx := range later {
			wantDone(t, ctx, 0)
			if context.Cause(ctx) != errMine {
				t.Errorf("cause %v", context.Cause(ctx))
			}
		}
		time.Sleep(time.Hour) // all timers have ended
	})
}

// A call is what one call of a function under Twice does.
type call struct {
	takes time.Duration
	err   error
}

// twice runs Twice over calls, the value being the number of the call, from 1.
func twice(ctx context.Context, calls ...call) (v int, again, second bool, err error) {
	next := make(chan int, len(calls))
	for i := range calls {
		next <- i
	}
	return Twice(ctx, time.Second, func(ctx context.Context) (int, error) {
		i := <-next
		select {
		case <-time.After(calls[i].takes):
			return i + 1, calls[i].err
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	})
}

func TestTwiceCallsASecondTimeOnlyIfTheFirstIsSlow(t *testing.T) {
	virtual(t, func(t *testing.T) {
		const ms = time.Millisecond
		for name, x := range map[string]struct {
			calls         []call
			v             int
			again, second bool
			err           error
			took          time.Duration
		}{
			"fast":                                 {[]call{{900 * ms, nil}}, 1, false, false, nil, 900 * ms},
			"fast, fails":                          {[]call{{900 * ms, errMine}}, 1, false, false, errMine, 900 * ms},
			"the second is first":                  {[]call{{time.Hour, nil}, {500 * ms, nil}}, 2, true, true, nil, 1500 * ms},
			"the first is first":                   {[]call{{1200 * ms, nil}, {time.Hour, nil}}, 1, true, false, nil, 1200 * ms},
			"the first fails, the second succeeds": {[]call{{1200 * ms, errMine}, {500 * ms, nil}}, 2, true, true, nil, 1500 * ms},
			"the second fails, the first succeeds": {[]call{{3000 * ms, nil}, {500 * ms, errMine}}, 1, true, false, nil, 3000 * ms},
			"both fail":                            {[]call{{3000 * ms, errMine}, {500 * ms, errors.New("x")}}, 1, true, false, errMine, 3000 * ms},
		} {
			wantTook(t, x.took, func() {
				v, again, second, err := twice(t.Context(), x.calls...)
				if v != x.v || again != x.again || second != x.second || err != x.err {
					t.Errorf("%s: got %d, %v, %v, %v", name, v, again, second, err)
				}
			})
			synctest.Wait() // the other call has ended, too
		}
	})
}

func TestTwiceEndsWithItsContext(t *testing.T) {
	virtual(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		wantTook(t, 5*time.Second, func() {
			_, again, _, err := twice(ctx, call{time.Hour, nil}, call{time.Hour, nil})
			if !again || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, %v", again, err)
			}
		})
	})
}

func TestSilenceIsMarkedOnce(t *testing.T) {
	silent := errors.New("silent")
	once := Unheard(context.Canceled, silent)
	if !errors.Is(once, context.Canceled) || !errors.Is(once, silent) {
		t.Errorf("%v", once)
	}
	if twice := Unheard(once, silent); twice != once {
		t.Errorf("%v is marked again: %v", once, twice)
	}
}
