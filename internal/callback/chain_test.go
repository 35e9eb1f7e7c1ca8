package callback

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// A hook has a name, and may do harm in its Start or End.
type hook struct {
	name       string
	start, end func()
}

type keyOf string // of a value in a context

// play runs a chain from start to end, on a goroutine of its own, and returns what was called, with the names that each context has.
func play(hooks ...hook) (calls []string) {
	ch := &Chain[hook, string]{All: hooks, Failed: func(c string, panicked any, _ string) {
		calls = append(calls, fmt.Sprintf("%s failed: %v", c, panicked))
	}}
	note := func(what string, h hook, ctx context.Context) {
		text := what + " " + h.name + ":"
		for _, other := range hooks {
			if ctx.Value(keyOf(other.name)) != nil {
				text += " " + other.name
			}
		}
		calls = append(calls, text)
	}
	Apart(func() {
		var t Contexts
		defer func() {
			ch.End(t, "End", func(h hook, ctx context.Context) {
				note("end", h, ctx)
				if h.end != nil {
					h.end()
				}
			})
		}()
		ch.Start(&t, context.Background(), "Start", func(h hook, ctx context.Context) context.Context {
			note("start", h, ctx)
			if h.start != nil {
				h.start()
			}
			if h.name == "nil" {
				return nil
			}
			return context.WithValue(ctx, keyOf(h.name), true)
		})
		ch.Amid(t, "Amid", func(h hook, ctx context.Context) { note("amid", h, ctx) })
		note("last", hook{}, t.Last(context.Background()))
	})
	return calls
}

func TestAChain(t *testing.T) {
	for name, c := range map[string]struct {
		hooks []hook
		want  string
	}{
		"without hooks": {nil, "last :"},
		"of two": {[]hook{{name: "a"}, {name: "b"}},
			"start a:, start b: a, amid a: a, amid b: a b, last : a b, end b: a b, end a: a"},
		"with one that returns no context": {[]hook{{name: "nil"}, {name: "b"}},
			"start nil:, start b:, amid nil:, amid b: b, last : b, end b: b, end nil:"},
		"with a Start that panics": {[]hook{{name: "a", start: boom}, {name: "b"}},
			"start a:, Start failed: boom, start b:, amid a:, amid b: b, last : b, end b: b, end a:"},
		"with a Start that exits": {[]hook{{name: "a"}, {name: "b", start: runtime.Goexit}, {name: "c"}},
			"start a:, start b: a, Start failed: <nil>, end b: a, end a: a"},
		"with an End that exits": {[]hook{{name: "a"}, {name: "b", end: runtime.Goexit}},
			"start a:, start b: a, amid a: a, amid b: a b, last : a b, end b: a b, End failed: <nil>, end a: a"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(play(c.hooks...), ", "); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}
