package etcdtest_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/etcdtest/member"
)

func TestAKilledMemberKeepsItsDataOverARestart(t *testing.T) {
	own := etcdtest.StartOwn(t)
	client := own.Client(t)
	if _, err := client.Put(t.Context(), "/k", "v"); err != nil {
		t.Fatal(err)
	}
	first := own.Pid()
	own.Kill()
	own.Restart(t)
	if own.Pid() == first {
		t.Error("the process is the same")
	}
	eventually(t, func(ctx context.Context) error {
		resp, err := client.Get(ctx, "/k")
		if err != nil {
			return err
		}
		if resp.Count != 1 || string(resp.Kvs[0].Value) != "v" {
			t.Fatalf("read %v", resp.Kvs)
		}
		return nil
	})
}

func TestAPausedMemberAnswersNothingUntilItIsResumed(t *testing.T) {
	own := etcdtest.StartOwn(t)
	client := own.Client(t)
	own.Pause(t)
	own.Pause(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := client.Get(ctx, "/k"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("paused: %v", err)
	}
	own.Resume(t)
	if _, err := client.Get(t.Context(), "/k"); err != nil {
		t.Errorf("resumed: %v", err)
	}
}

func TestAStoppedMemberLeavesNoData(t *testing.T) {
	m, err := member.Launch(t.Context(), member.Config{Fsync: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(m.Dir()); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(m.Dir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("data directory: %v", err)
	}
}

func TestABadFlagIsToldByEtcdItself(t *testing.T) {
	_, err := member.Launch(t.Context(), member.Config{Flags: []string{"--no-such-flag"}})
	if err == nil {
		t.Fatal("no error")
	}
	if want := "no-such-flag"; !strings.Contains(err.Error(), want) {
		t.Errorf("%v\nsays nothing of %s", err, want)
	}
}

func TestAClusterOutlivesItsLeader(t *testing.T) {
	cluster := etcdtest.StartCluster(t, 3)
	client := cluster.Client(t)
	old := cluster.Leader(t)
	old.Kill()
	if cluster.Leader(t) == old {
		t.Error("the killed leader leads")
	}
	eventually(t, func(ctx context.Context) error {
		_, err := client.Put(ctx, "/k", "v")
		return err
	})
	old.Restart(t)
	if n := count(t, old.Server, "/k"); n != 1 {
		t.Errorf("the restarted member has %d keys, want 1", n)
	}
}

func TestAPausedLeaderIsReplaced(t *testing.T) {
	cluster := etcdtest.StartCluster(t, 3)
	old := cluster.Leader(t)
	old.Pause(t)
	eventually(t, func(context.Context) error {
		if cluster.Leader(t) == old {
			return errors.New("the paused leader leads")
		}
		return nil
	})
	old.Resume(t)
	if cluster.Leader(t) == old {
		t.Error("the resumed leader leads")
	}
}

func TestAClusterComesBackAfterAllItsMembersWereKilled(t *testing.T) {
	cluster := etcdtest.StartCluster(t, 3)
	for _, m := range cluster.Members() {
		m.Kill()
	}
	var all sync.WaitGroup
	for _, m := range cluster.Members() {
		all.Go(func() { m.Restart(t) })
	}
	all.Wait()
	if _, err := cluster.Client(t).Put(t.Context(), "/k", "v"); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}
