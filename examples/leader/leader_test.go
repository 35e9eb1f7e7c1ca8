package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"regexp"
	"testing"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
)

func TestMain(m *testing.M) {
	if !runNode() { // the test binary is the nodes, too
		etcdtest.Main(m)
	}
}

func TestEachNodeLeadsAndAnotherFollowsTheOneThatIsKilled(t *testing.T) {
	var out bytes.Buffer
	err := run(t.Context(), &out)
	t.Logf("the program printed:\n%s", &out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`leads with token \d`, `handed over to \w`, `leads, process \d+, with 3 jobs`, `KILLED`, `nobody leads`, `check passed`} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("the output does not match %q", want)
		}
	}
}

func TestAnInterruptEndsTheNodes(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	out := &locktest.Listener{Word: "leads with", Heard: interrupt}
	if err := run(ctx, out); !errors.Is(err, context.Canceled) {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestTheCheckFindsWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		led    []string
		killed string
		good   bool
	}{
		{[]string{"ada", "ben", "cleo", "ben"}, "cleo", true},
		{[]string{"ada", "ben", "cleo", "cleo"}, "cleo", false},
		{[]string{"ada", "ben", "cleo"}, "cleo", false},
		{[]string{"ada", "ben", "ada", "cleo"}, "ada", false},
	} {
		if err := check(c.led, c.killed, io.Discard); (err == nil) != c.good {
			t.Errorf("%v: %v", c, err)
		}
	}
}
