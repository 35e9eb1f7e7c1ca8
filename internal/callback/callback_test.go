package callback

import (
	"bytes"
	"context"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func boom() { panic("boom") }

func TestCallTellsHowACallbackFailed(t *testing.T) {
	for name, c := range map[string]struct {
		f        func()
		panicked any
		returns  bool
		failed   bool
		stack    string
	}{
		"returns": {f: func() {}, returns: true},
		"panics":  {f: boom, panicked: "boom", returns: true, failed: true, stack: "callback.boom"},
		"exits":   {f: runtime.Goexit, failed: true, stack: "callback.Call"},
	} {
		t.Run(name, func(t *testing.T) {
			calls, returned := 0, false
			Apart(func() {
				Call(c.f, func(p any, stack string) {
					calls++
					if p != c.panicked || !strings.Contains(stack, c.stack) {
						t.Errorf("panicked with %v:\n%s", p, stack)
					}
				})
				returned = true
			})
			if returned != c.returns || (calls == 1) != c.failed {
				t.Errorf("returned: %v, failed %d times", returned, calls)
			}
		})
	}
}

func TestApartWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		Apart(func() { time.Sleep(time.Second); runtime.Goexit() })
		if took := time.Since(began); took != time.Second {
			t.Errorf("returned after %v", took)
		}
	})
}

// each runs Each over so many items, and returns when each of them was called, and what it took.
func each(n int, f func(i int)) (called map[int]time.Duration, order []int, took time.Duration) {
	var mu sync.Mutex
	called, began := map[int]time.Duration{}, time.Now()
	items := make([]int, n)
	for i := range items {
		items[i] = i
	}
	Each(items, func(i int) {
		mu.Lock()
		called[i] = time.Since(began)
		order = append(order, i)
		mu.Unlock()
		f(i)
	})
	return called, order, time.Since(began)
}

func TestEachCallsAllInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, order, took := each(100, func(int) {})
		if len(order) != 100 || !slices.IsSorted(order) || took > slow {
			t.Errorf("%v after %v", order, took)
		}
	})
	each(0, func(int) { t.Error("called for nothing") })
}

func TestOneSlowCallHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		called, _, took := each(10, func(i int) {
			if i == 3 {
				time.Sleep(time.Minute)
			}
		})
		for i, at := range called {
			if at > slow {
				t.Errorf("%d was called after %v", i, at)
			}
		}
		if len(called) != 10 || took != time.Minute {
			t.Errorf("%d were called; it took %v", len(called), took)
		}
	})
}

func TestManySlowCallsTakeMoreAndMoreGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		called, _, took := each(1000, func(int) { time.Sleep(time.Minute) })
		if last := called[999]; len(called) != 1000 || last > 11*slow || took > time.Minute+11*slow {
			t.Errorf("%d were called, the last after %v; it took %v", len(called), last, took)
		}
	})
}

func TestCallsThatExitHoldUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		called, _, took := each(100, func(int) { runtime.Goexit() })
		if len(called) != 100 || took > 10*slow {
			t.Errorf("%d were called; it took %v", len(called), took)
		}
	})
}

// A badHandler does harm wherever it is asked to.
type badHandler struct {
	slog.Handler
	harm func()
	in   string
}

func (h badHandler) at(where string) {
	if h.in == where {
		h.harm()
	}
}

func (h badHandler) Enabled(ctx context.Context, l slog.Level) bool {
	h.at("Enabled")
	return h.Handler.Enabled(ctx, l)
}

func (h badHandler) Handle(ctx context.Context, r slog.Record) error {
	h.at("Handle")
	return h.Handler.Handle(ctx, r)
}

func (h badHandler) WithAttrs(a []slog.Attr) slog.Handler {
	h.at("WithAttrs")
	h.Handler = h.Handler.WithAttrs(a)
	return h
}

func (h badHandler) WithGroup(name string) slog.Handler {
	h.at("WithGroup")
	h.Handler = h.Handler.WithGroup(name)
	return h
}

func TestALogHandlerDoesNoHarm(t *testing.T) {
	for name, harm := range map[string]func(){"panic": boom, "Goexit": runtime.Goexit} {
		for where, want := range map[string]string{"": "b.x=1", "Enabled": "", "Handle": "", "WithAttrs": "b.x=1", "WithGroup": "x=1"} {
			t.Run(name+"/"+where, func(t *testing.T) {
				var out bytes.Buffer
				returned := false
				Apart(func() {
					log := Logger(slog.New(badHandler{slog.NewTextHandler(&out, nil), harm, where}))
					log.With("a", 0).WithGroup("b").Info("hello", "x", 1)
					returned = true
				})
				if !returned {
					t.Error("it ended the caller's goroutine")
				}
				if got := out.String(); (got == "") != (want == "") || !strings.Contains(got, want) || strings.Contains(got, "a=0") != (want != "" && where != "WithAttrs") {
					t.Errorf("got %q, want %q", got, want)
				}
			})
		}
	}
}
