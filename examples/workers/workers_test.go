package main

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"testing"
	"time"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
)

func TestMain(m *testing.M) {
	if !runNode() { // the test binary is the nodes, too
		etcdtest.Main(m)
	}
}

func TestNoMoreJobsRunThanThereAreSlotsThoughAProcessIsKilled(t *testing.T) {
	var out bytes.Buffer
	err := run(t.Context(), config{jobs: 20, slots: 4}, &out)
	t.Logf("the program printed:\n%s", &out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`starts +takes 3 of 4 slots`, `KILLED`, `check passed: 20 jobs are done, and never more than [34] of 4 slots were taken; [1-4] jobs were begun again`} {
		if !regexp.MustCompile(want).Match(out.Bytes()) {
			t.Errorf("the output does not match %q", want)
		}
	}
}

func TestAnInterruptEndsTheNodes(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	out := &locktest.Listener{Word: "starts", Heard: interrupt}
	if err := run(ctx, config{jobs: 1000, slots: 3}, out); !errors.Is(err, context.Canceled) {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestTheCheckFindsWhatIsWrong(t *testing.T) {
	at := func(second, weight int) use { return use{at: time.Unix(int64(second), 0), weight: weight} }
	for name, c := range map[string]struct {
		uses  []use
		todo  map[int]string
		wrong bool
	}{
		"one after another, told out of order": {[]use{at(1, 3), at(4, -3), at(3, -1), at(2, 1), at(5, 3), at(6, -3)}, nil, false},
		"too many":                             {[]use{at(1, 3), at(2, 3), at(3, -3), at(4, -3)}, nil, true},
		"one that does not end":                {[]use{at(1, 3)}, nil, true},
		"a job that is not done":               {nil, map[int]string{1: "ada"}, true},
	} {
		p := &parent{config: config{jobs: 2, slots: 4}, out: new(bytes.Buffer), uses: c.uses, todo: c.todo}
		if err := p.check(); (err != nil) != c.wrong {
			t.Errorf("%s: %v", name, err)
		}
	}
}
