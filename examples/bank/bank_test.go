package main

import (
	"bytes"
	"context"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
)

func TestMain(m *testing.M) {
	if !runBranch() { // the test binary is the branches, too
		etcdtest.Main(m)
	}
}

func TestTheTotalNeverDiffersAlthoughBranchesAreKilledAndPaused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("processes cannot be paused here")
	}
	var out bytes.Buffer
	err := run(t.Context(), config{
		time:     6 * time.Second,
		branches: 4,
		tellers:  2,
		accounts: 20,
		calm:     2 * time.Second,
	}, &out)
	t.Logf("the program printed:\n%s", &out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`[1-9]\d* transfers in \d`,
		`[1-9]\d* branches killed|[1-9]\d* paused`,
		`check passed: the total was 20000 in each of [1-9]\d* snapshots`,
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("the output does not match %q", want)
		}
	}
}

func TestAnInterruptClosesTheBank(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	out := &locktest.Listener{Word: "time", Heard: interrupt} // the head of the table
	err := run(ctx, config{time: time.Hour, branches: 2, tellers: 1, accounts: 2, calm: time.Hour}, out)
	if err != nil || !strings.Contains(out.String(), "check passed") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestASnapshotShowsWhatIsWrong(t *testing.T) {
	server := etcdtest.Start(t)
	client, prefix := server.Client(t), server.Prefix(t)
	l, err := locker.New(client, locker.WithPrefix(prefix))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := openAccounts(t.Context(), l, 2); err != nil {
		t.Fatal(err)
	}
	if err := transfer(t.Context(), l, 0, 1, 300); err != nil {
		t.Fatal(err)
	}
	if err := transfer(t.Context(), l, 0, 1, 701); err != errOverdraft {
		t.Errorf("transfer of more than there is: %v", err)
	}
	s, err := look(t.Context(), client, prefix, 2)
	if err != nil {
		t.Fatal(err)
	}
	if s[0].Balance != 700 || s[1].Balance != 1300 || s.transfers() != 1 || s.check() != nil {
		t.Errorf("got %v, %v", s, s.check())
	}
	for _, bad := range []snapshot{
		{{Balance: 999}, {Balance: 1000}},
		{{Balance: -1}, {Balance: 2001}},
	} {
		if bad.check() == nil {
			t.Errorf("%v: nothing wrong", bad)
		}
	}
}
