// Package member runs etcd servers on this machine: pinned, built once, each a process of its own on free loopback ports,
// with data that goes away with it. None outlives the process that launched it.
package member

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/phpgao/elock/internal/etcdtest/process"
)

// Member is one etcd server. Its methods may be called from several goroutines.
type Member struct {
	name   string
	client string // URLs
	peer   string
	flags  []string
	cfg    Config
	root   string // one directory for all members launched together
	dir    string

	mu      sync.Mutex // guards what follows
	version string
	exe     string
	proc    *process.Process
}

// Endpoint is where clients reach the member, over all its restarts: host:port.
func (m *Member) Endpoint() string {
	_, hostport, _ := strings.Cut(m.client, "://")
	return hostport
}

// Name is the member's name in its cluster.
func (m *Member) Name() string { return m.name }

// Dir is the member's data directory.
func (m *Member) Dir() string { return m.dir }

// Pid is the id of the member's process, of the last one if it was killed.
func (m *Member) Pid() int { return m.process().Pid() }

// Kill ends the member with SIGKILL. Its data stay for Restart. It is safe to repeat.
func (m *Member) Kill() { m.process().Kill() }

// Pause stops the member in its tracks (SIGSTOP): connections stay open and nothing is answered.
func (m *Member) Pause() error { return m.process().Pause() }

// Resume lets a paused member go on (SIGCONT).
func (m *Member) Resume() error { return m.process().Resume() }

// Restart kills the member if it runs, starts it on its data and ports, and waits until it serves; a member of a cluster
// serves once a majority runs. ctx bounds the wait. After an error the member may be running, and Restart can be tried again.
func (m *Member) Restart(ctx context.Context) error {
	for {
		m.Kill()
		err := m.start()
		if err == nil {
			err = m.waitReady(ctx)
		}
		// While the member was away, its port may have gone to someone else, who may give it back.
		if err == nil || ctx.Err() != nil || !errors.Is(err, errPortTaken) {
			return err
		}
	}
}

// RestartAs is Restart with another version of etcd, which later restarts keep. etcd goes up by one minor version at a time,
// and only once the whole cluster has arrived at the last.
func (m *Member) RestartAs(ctx context.Context, version string) error {
	exe, err := Executable(ctx, version)
	if err != nil {
		return err
	}
	m.Kill()
	m.mu.Lock()
	m.exe, m.version = exe, version
	m.mu.Unlock()
	return m.Restart(ctx)
}

// Stop ends the member for good and removes its data. It is safe to repeat.
func (m *Member) Stop() error {
	m.Kill()
	err := os.RemoveAll(m.dir)
	os.Remove(m.log())
	os.Remove(m.root) // fails for all but the last member launched together
	return err
}

func (m *Member) process() *process.Process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.proc
}

// start runs the server on the member's directory.
func (m *Member) start() error {
	log, err := os.OpenFile(m.log(), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	run := process.Start
	if m.version == V34 {
		run = process.StartForeign
	}
	flags := slices.Concat(m.flags, m.cfg.common(m.version), m.cfg.Flags)
	proc, err := run(m.exe, flags, environ(m.root), log)
	if err != nil {
		return fmt.Errorf("member: start etcd: %w", err)
	}
	m.proc = proc
	return nil
}

func (m *Member) log() string { return filepath.Join(m.root, m.name+".log") }

// environ is this process's environment without etcd's own variables, which would count as flags. The first member to see
// its parent die removes the data of all, as some may have been killed before.
func environ(root string) []string {
	env := []string{"ELOCK_ETCD_REMOVE=" + root}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "ETCD_") && !strings.HasPrefix(v, "ELOCK_ETCD_") {
			env = append(env, v)
		}
	}
	return env
}
