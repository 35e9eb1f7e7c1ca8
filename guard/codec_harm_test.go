package guard_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// A trap is a codec that misbehaves when it is armed.
type trap struct {
	guard.Codec[int]
	marshal, unmarshal func()
}

func (c *trap) Marshal(n int) ([]byte, error) {
	if c.marshal != nil {
		c.marshal()
	}
	return c.Codec.Marshal(n)
}

func (c *trap) Unmarshal(data []byte) (int, error) {
	if c.unmarshal != nil {
		c.unmarshal()
	}
	return c.Codec.Unmarshal(data)
}

func TestACodecThatPanicsOrEndsItsGoroutineStoresNothingAndFreesTheLock(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	add := func(_ context.Context, n int) (int, error) { return n + 1, nil }
	calls := map[string]func(g, other *guard.Guard[int]){
		"Update": func(g, _ *guard.Guard[int]) { _, _ = g.Update(ctx, add) },
		"Update2": func(g, other *guard.Guard[int]) {
			_ = guard.Update2(ctx, other, g, func(_ context.Context, a, b int) (int, int, error) { return a + 1, b + 1, nil })
		},
		"UpdateN": func(g, other *guard.Guard[int]) {
			_ = guard.UpdateN(ctx, []*guard.Guard[int]{other, g}, func(_ context.Context, all []int) ([]int, error) {
				return []int{all[0] + 1, all[1] + 1}, nil
			})
		},
		"Get":  func(g, _ *guard.Guard[int]) { _, _ = g.Get(ctx) },
		"View": func(g, _ *guard.Guard[int]) { _ = g.View(ctx, func(context.Context, int) error { return nil }) },
		"Watch": func(g, _ *guard.Guard[int]) {
			for range g.Watch(ctx) {
				return
			}
		},
	}
	for way, spring := range map[string]func(){"panics": func() { panic("codec") }, "exits": runtime.Goexit} {
		for name, call := range calls {
			for _, method := range []string{"Marshal", "Unmarshal"} {
				if method == "Marshal" && !strings.HasPrefix(name, "Update") {
					continue
				}
				t.Run(name+"/"+method+" "+way, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						a, b := lockertest.NewPair(t)
						codec := &trap{Codec: guard.JSON[int]()}
						g := guard.New(a, key, guard.Stored(codec))
						other := number(a, 1)
						for _, g := range []*guard.Guard[int]{g, other} {
							if _, err := g.Update(ctx, add); err != nil {
								t.Fatal(err)
							}
						}
						if method == "Marshal" {
							codec.marshal = spring
						} else {
							codec.unmarshal = spring
						}
						caught := make(chan string)
						go func() {
							defer func() { caught <- fmt.Sprint(recover()) }()
							call(g, other)
						}()
						if got := <-caught; way == "panics" && got != "codec" {
							t.Errorf("the caller recovers %s", got)
						}
						codec.marshal, codec.unmarshal = nil, nil
						for _, l := range []*locker.Locker{b, a} {
							for _, k := range []keyspace.Key{key, other.Key()} {
								h, err := l.TryAcquire(ctx, k)
								if err != nil {
									t.Fatal(err)
								}
								if err := h.Release(ctx); err != nil {
									t.Fatal(err)
								}
							}
						}
						for _, g := range []*guard.Guard[int]{g, other} {
							if n, err := g.Get(ctx); n != 1 || err != nil {
								t.Errorf("%v: stored %d, %v", g.Key(), n, err)
							}
						}
					})
				})
			}
		}
	}
}
