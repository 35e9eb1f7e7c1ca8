package main

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
)

func TestMain(m *testing.M) {
	if !runNode() { // the test binary is the nodes, too
		etcdtest.Main(m)
	}
}

func TestEachTickIsDoneOnceThoughClocksAreWrongAndANodeIsKilled(t *testing.T) {
	out := runs(t, config{ticks: 4})
	for _, want := range []string{`starts +token \d`, `was done`, `KILLED`, `check passed: each of 4 ticks was done once; that of \S+ was begun 2 times`} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("the output does not match %q", want)
		}
	}
}

func TestWithALockAloneEachNodeRunsTheJob(t *testing.T) {
	if out := runs(t, config{ticks: 2, lockAlone: true}); !strings.Contains(out, "the job was done 6 times for 2 ticks") {
		t.Error("it was not")
	}
}

func runs(t *testing.T, c config) string {
	var out bytes.Buffer
	err := run(t.Context(), c, &out)
	t.Logf("the program printed:\n%s", &out)
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestAnInterruptEndsTheNodes(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	out := &locktest.Listener{Word: "starts", Heard: interrupt}
	if err := run(ctx, config{ticks: 1000}, out); !errors.Is(err, context.Canceled) {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestTheCheckFindsWhatIsWrong(t *testing.T) {
	p := &parent{config: config{ticks: 2}, out: new(bytes.Buffer), done: map[string]int{"00:00:00": 1, "00:00:01": 1}}
	if err := p.check(); err != nil {
		t.Error(err)
	}
	for _, n := range []int{0, 2} {
		p.done["00:00:01"] = n
		if p.check() == nil {
			t.Errorf("done %d times: not found", n)
		}
	}
}
