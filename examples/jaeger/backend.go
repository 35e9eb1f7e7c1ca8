package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/phpgao/elock/internal/etcdtest/process"
)

// A backend is a Jaeger that runs.
type backend struct {
	otlp, ui string // URLs
	stdin    io.Closer
	ended    chan struct{}
	log      *os.File
}

// jaegerFlags are all the ports of Jaeger's: every one is a loopback one.
var jaegerFlags = []string{
	"admin.http.host-port",
	"collector.grpc-server.host-port",
	"collector.http-server.host-port",
	"collector.otlp.grpc.host-port",
	"collector.otlp.http.host-port",
	"collector.zipkin.host-port",
	"http-server.host-port",
	"processor.jaeger-binary.server-host-port",
	"processor.jaeger-compact.server-host-port",
	"processor.zipkin-compact.server-host-port",
	"query.grpc-server.host-port",
	"query.http-server.host-port",
}

// startJaeger builds Jaeger, starts it with traces in memory, and waits until
// it serves.
func startJaeger(ctx context.Context) (*backend, error) {
	exe, err := buildJaeger(ctx)
	if err != nil {
		return nil, err
	}
	for range 5 { // another process may take a port first
		var b *backend
		if b, err = launchJaeger(ctx, exe); err == nil || ctx.Err() != nil {
			return b, err
		}
	}
	return nil, err
}

// buildJaeger returns the path of the pinned Jaeger, from Go's build cache.
func buildJaeger(ctx context.Context) (string, error) {
	_, file, _, _ := runtime.Caller(0)
	cmd := exec.CommandContext(ctx, "go", "tool", "-n", "all-in-one")
	cmd.Dir = filepath.Join(filepath.Dir(file), "jaeger")
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build Jaeger: %w\n%s", err, said.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
}

func launchJaeger(ctx context.Context, exe string) (*backend, error) {
	args := []string{exe, "--log-level=error", "--memory.max-traces=10000"}
	at := make(map[string]string)
	for _, flag := range jaegerFlags {
		port, err := process.FreePort()
		if err != nil {
			return nil, err
		}
		at[flag] = fmt.Sprintf("127.0.0.1:%d", port)
		args = append(args, "--"+flag+"="+at[flag])
	}
	// The agent inside must find the collector.
	args = append(args, "--reporter.grpc.host-port="+at["collector.grpc-server.host-port"])
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	log, err := os.CreateTemp("", "elock-jaeger-*.log")
	if err != nil {
		return nil, err
	}
	os.Remove(log.Name()) // open files outlive their names; where not, stop removes it
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), roleEnv+"="+keeperRole, "SPAN_STORAGE_TYPE=memory")
	cmd.Stdout, cmd.Stderr = log, log
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		log.Close()
		return nil, err
	}
	b := &backend{
		otlp:  "http://" + at["collector.otlp.grpc.host-port"],
		ui:    "http://" + at["query.http-server.host-port"],
		stdin: stdin, ended: make(chan struct{}), log: log,
	}
	go func() {
		defer close(b.ended)
		_ = cmd.Wait() // the log says why
	}()
	if err := b.ready(ctx, "http://"+at["admin.http.host-port"]); err != nil {
		said, _ := io.ReadAll(io.NewSectionReader(log, 0, 4096))
		b.stop()
		return nil, fmt.Errorf("start Jaeger: %w\n%s", err, said)
	}
	return b, nil
}

// ready waits until Jaeger says that it is.
func (b *backend) ready(ctx context.Context, admin string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if resp, err := http.Get(admin); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-b.ended:
			return errors.New("it ended")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *backend) stop() {
	b.stdin.Close()
	<-b.ended
	b.log.Close()
	os.Remove(b.log.Name())
}

const keeperRole = "keeper of Jaeger"

// keepJaeger runs Jaeger until standard input is closed, which also the death
// of the process at its other end does: Jaeger does not outlive it.
func keepJaeger(exe string, flags []string) error {
	signal.Ignore(os.Interrupt) // Ctrl-C reaches this process too, before it is time
	cmd := exec.Command(exe, flags...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = cmd.Process.Kill()
	}()
	_ = cmd.Wait() // it was killed, or its output says why it ended
	return nil
}
