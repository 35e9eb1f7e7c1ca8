package etcdtest_test

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/phpgao/elock/internal/etcdtest"
)

// roleVar makes this test binary, run again by a test, play a part.
const roleVar = "ELOCK_ETCDTEST_ROLE"

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleVar); role {
	case "run", "run paused", "run killed":
		launchAndHang(role)
	default:
		etcdtest.Main(m)
	}
}

// again is the command that runs this test binary again.
func again(t *testing.T, role string, args ...string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	return cmd
}

// eventually tries f until it returns nil, and fails the test if that takes half a minute.
func eventually(t *testing.T, f func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := f(try)
		cancel()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-tick.C:
		}
	}
}
