package etcdtest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/phpgao/elock/internal/etcdtest/member"
)

func TestNoEtcdSurvivesAKilledTestRun(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("members cannot be paused here")
	}
	for _, role := range []string{"run", "run paused", "run killed"} {
		t.Run(role, func(t *testing.T) {
			run := again(t, role)
			out, err := run.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := run.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			facts := strings.Fields(line) // the data directory, then endpoints
			if len(facts) < 2 {
				t.Fatalf("test run says %q", line)
			}
			if err := run.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			run.Wait()

			for _, endpoint := range facts[1:] {
				eventually(t, func(context.Context) error {
					conn, err := net.Dial("tcp", endpoint)
					if err == nil {
						conn.Close()
						return errors.New("etcd still listens on " + endpoint)
					}
					if errors.Is(err, syscall.ECONNREFUSED) {
						return nil
					}
					return err
				})
			}
			if _, err := os.Stat(facts[0]); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("data directory %s is left: %v", facts[0], err)
			}
		})
	}
}

// launchAndHang is the test run that is killed. It has two members, to kill or pause one.
func launchAndHang(role string) {
	members, err := member.LaunchCluster(context.Background(), 2, member.Config{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	switch role {
	case "run paused":
		for _, m := range members {
			if err := m.Pause(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
	case "run killed":
		members[0].Kill()
	}
	fmt.Println(members[0].Dir(), members[0].Endpoint(), members[1].Endpoint())
	select {}
}
