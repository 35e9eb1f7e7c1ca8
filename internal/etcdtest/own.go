package etcdtest

import (
	"context"
	"testing"
	"time"

	"github.com/phpgao/elock/internal/etcdtest/member"
)

// restartTimeout outlasts the member's own limit, whose error shows the log.
const restartTimeout = 2 * time.Minute

// Member is an etcd server of one test's own, which may be killed and paused. As a Server it is this member alone, even in
// a cluster.
type Member struct {
	*Server
	proc *member.Member
}

// StartOwn launches an etcd of one member that goes away with the test. flags are etcd's, such as "--snapshot-count=100".
// It never is the server that ELOCK_TEST_ENDPOINTS names.
func StartOwn(tb testing.TB, flags ...string) *Member {
	tb.Helper()
	return StartCluster(tb, 1, flags...).members[0]
}

// Endpoint is the member's address, the same over all restarts: host:port.
func (m *Member) Endpoint() string { return m.proc.Endpoint() }

// Pid is the id of the member's process.
func (m *Member) Pid() int { return m.proc.Pid() }

// Kill ends the member with SIGKILL; it is gone when Kill returns.
func (m *Member) Kill() { m.proc.Kill() }

// Pause stops the member with SIGSTOP: its connections stay open, and nothing is answered.
func (m *Member) Pause(tb testing.TB) {
	tb.Helper()
	if err := m.proc.Pause(); err != nil {
		tb.Fatal(err)
	}
}

// Resume lets a paused member go on.
func (m *Member) Resume(tb testing.TB) {
	tb.Helper()
	if err := m.proc.Resume(); err != nil {
		tb.Fatal(err)
	}
}

// Restart starts the member on its data and ports, after killing it if it runs, and waits until it serves.
// In a cluster that takes a majority: restart several members at once from several goroutines.
func (m *Member) Restart(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), restartTimeout)
	defer cancel()
	if err := m.proc.Restart(ctx); err != nil {
		tb.Fatal(err)
	}
}
