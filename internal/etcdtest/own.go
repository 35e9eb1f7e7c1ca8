package etcdtest

import (
	"context"
	"encoding/json"
	"strings"
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

// RestartAs is Restart with another version of etcd, such as member.V36, which later restarts keep. etcd goes up by one minor
// version at a time, and only once the whole cluster has arrived at the last: see ClusterVersion. A 3.7 server cannot read entries of its log that 3.5 wrote, so 3.6 must have made a
// snapshot first: --snapshot-count=10 and some writes see to that.
func (m *Member) RestartAs(tb testing.TB, version string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), restartTimeout)
	defer cancel()
	if err := m.proc.RestartAs(ctx, version); err != nil {
		tb.Fatal(err)
	}
}

// ClusterVersion is the version that all members have arrived at, such as "3.6". It rises some seconds after the last of
// them was restarted.
func (m *Member) ClusterVersion(tb testing.TB) string {
	tb.Helper()
	body, err := m.proc.Get(tb.Context(), "/version")
	if err != nil {
		tb.Fatal(err)
	}
	var version struct{ Etcdcluster string }
	if err := json.Unmarshal(body, &version); err != nil {
		tb.Fatal(err)
	}
	return version.Etcdcluster[:max(0, strings.LastIndex(version.Etcdcluster, "."))]
}
