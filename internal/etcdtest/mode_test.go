package etcdtest_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/etcdtest/member"
)

// allVersions is a flag, as servers of older versions take a minute each to build.
var allVersions = flag.Bool("etcd-versions", false, "run the tests that need all versions of etcd")

// inner runs the test again in a process of its own with variables of the environment. It reports whether it is that one.
func inner(t *testing.T, env ...string) bool {
	t.Helper()
	const role = "inner"
	if os.Getenv(roleVar) == role {
		return true
	}
	run := again(t, role, "-test.run=^"+t.Name()+"$", "-test.count=1", "-etcd-versions")
	run.Env = append(run.Env, env...)
	if out, err := run.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

func TestTheSharedServerIsBehindAGRPCProxy(t *testing.T) {
	if !inner(t, "ELOCK_ETCD_PROXY=1") {
		return
	}
	s := etcdtest.Start(t)
	key := "/" + s.Prefix(t) + "/k"
	if _, err := s.Client(t).Put(t.Context(), key, "v"); err != nil {
		t.Fatal(err)
	}
	if s.Endpoints()[0] == s.Root(t).Endpoints()[0] {
		t.Error("root uses the proxy")
	}
	if resp, err := s.Root(t).Get(t.Context(), key); err != nil || resp.Count != 1 {
		t.Errorf("beside the proxy: %v, %v", resp, err)
	}
}

func TestAGRPCProxyIsBeforeAServerOfTheTestsOwn(t *testing.T) {
	s := etcdtest.StartAuth(t, etcdtest.AuthConfig{})
	plain, prefix := s.ThroughGRPCProxy(t).Client(t), s.Prefix(t)
	if _, err := plain.Put(t.Context(), "/"+prefix+"/k", "v"); err != nil {
		t.Error(err)
	}
	wantRefused(t, plain, "/other/k")
}

func TestAServerWithTLSWantsACertificate(t *testing.T) {
	s := etcdtest.StartTLS(t)
	if _, err := s.Client(t).Put(t.Context(), "/k", "v"); err != nil {
		t.Fatal(err)
	}
	if _, err := etcdtest.Proxy(t, s.Endpoint()).Client(t).Put(t.Context(), "/k", "v"); err != nil {
		t.Errorf("through a proxy: %v", err)
	}
	s.Restart(t)
	bare := func(c *clientv3.Config) {
		c.TLS = c.TLS.Clone()
		c.TLS.Certificates = nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond) // a client that is refused tries again until then
	defer cancel()
	if _, err := s.Client(t, bare).Put(ctx, "/k", "v"); err == nil {
		t.Error("no certificate was needed")
	}
}

func TestEachVersionServes(t *testing.T) {
	if !*allVersions {
		t.Skip("needs flag -etcd-versions")
	}
	for _, version := range []string{member.V34, member.V35, member.V36, member.V37} {
		t.Run(version, func(t *testing.T) {
			cluster := etcdtest.StartClusterAs(t, version, 3)
			leader := cluster.Leader(t)
			if _, err := cluster.Client(t).Put(t.Context(), "/k", "v"); err != nil {
				t.Error(err)
			}
			wantVersion(t, leader, version)
			leader.Pause(t)
			leader.Resume(t)
			leader.Restart(t)
			if n := count(t, leader.Server, "/k"); n != 1 {
				t.Errorf("%d keys after a restart, want 1", n)
			}
		})
	}
}

func TestTheEnvironmentChoosesTheVersion(t *testing.T) {
	if !*allVersions {
		t.Skip("needs flag -etcd-versions")
	}
	if !inner(t, "ELOCK_ETCD=3.5") {
		return
	}
	s := etcdtest.Start(t)
	status, err := s.Root(t).Status(t.Context(), s.Endpoints()[0])
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(status.Version, "3.5.") {
		t.Errorf("version %s", status.Version)
	}
}

func TestAnUnknownVersionIsRefused(t *testing.T) {
	if _, err := member.Launch(t.Context(), member.Config{Version: "2.3"}); err == nil || !strings.Contains(err.Error(), "3.5") {
		t.Errorf("got error %v, want the known versions", err)
	}
}

func TestAMemberIsUpgradedWithItsData(t *testing.T) {
	if !*allVersions {
		t.Skip("needs flag -etcd-versions")
	}
	m := etcdtest.StartClusterAs(t, member.V35, 1, "--snapshot-count=10").Members()[0]
	for _, version := range []string{member.V35, member.V36, member.V37} {
		if version != member.V35 {
			m.RestartAs(t, version)
		}
		wantVersion(t, m, version)
		client := m.Client(t)
		for i := range 20 { // more than to the next snapshot
			if _, err := client.Put(t.Context(), "/"+version, strconv.Itoa(i)); err != nil {
				t.Fatal(err)
			}
		}
		if n := count(t, m.Server, "/"+member.V35); n != 1 {
			t.Errorf("%d keys of 3.5 as %s, want 1", n, version)
		}
	}
}

// wantVersion waits until m's whole cluster has arrived at the version.
func wantVersion(t *testing.T, m *etcdtest.Member, version string) {
	t.Helper()
	eventually(t, func(context.Context) error {
		if got := m.ClusterVersion(t); got != version {
			return errors.New("version of the cluster: " + got)
		}
		return nil
	})
}
