package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"time"
)

// The program starts itself, with what it is to be in its environment.
const (
	roleEnv      = "ELOCK_EXAMPLE_ROLE"
	endpointsEnv = "ELOCK_EXAMPLE_ENDPOINTS"
	prefixEnv    = "ELOCK_EXAMPLE_PREFIX"
)

// cast are the processes that contend.
var cast = []string{"checkout", "billing", "reports"}

func play(role string) error {
	if role == keeperRole {
		return keepJaeger(os.Args[1], os.Args[2:])
	}
	return work(role)
}

// A report is what a process did.
type report struct {
	Acquires, Blocked int
	Sights            []sight
}

// A sight is a trace worth looking at.
type sight struct {
	Kind, Process, Title, Trace string
	Waited                      time.Duration
}

// An actor is a process of the cast.
type actor struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser // the actor ends when it is closed
	lines *bufio.Reader
}

func startActor(ctx context.Context, name, endpoints, prefix, otlp string) (*actor, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(),
		roleEnv+"="+name, endpointsEnv+"="+endpoints, prefixEnv+"="+prefix,
		"OTEL_SERVICE_NAME="+name, "OTEL_EXPORTER_OTLP_ENDPOINT="+otlp)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &actor{cmd: cmd, stdin: stdin, lines: bufio.NewReader(stdout)}, nil
}

// contend lets the cast contend on a prefix of its own, and returns what they
// report.
func contend(ctx context.Context, endpoints, otlp string) ([]report, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel() // ends the processes that are left after an error
	prefix := fmt.Sprintf("jaeger-%08x", rand.Uint32())
	actors := make([]*actor, len(cast))
	for i, name := range cast {
		var err error
		if actors[i], err = startActor(ctx, name, endpoints, prefix, otlp); err != nil {
			return nil, err
		}
	}
	for i, a := range actors {
		if _, err := a.lines.ReadString('\n'); err != nil {
			return nil, fmt.Errorf("%s does not start: %w", cast[i], errors.Join(err, ctx.Err()))
		}
	}
	for _, a := range actors { // all are ready: begin together
		if _, err := io.WriteString(a.stdin, "begin\n"); err != nil {
			return nil, err
		}
	}
	reports := make([]report, len(actors))
	for i, a := range actors {
		if err := json.NewDecoder(a.lines).Decode(&reports[i]); err != nil {
			return nil, fmt.Errorf("%s does not report: %w", cast[i], errors.Join(err, ctx.Err()))
		}
		if err := a.cmd.Wait(); err != nil {
			return nil, fmt.Errorf("%s: %w", cast[i], err)
		}
	}
	return reports, nil
}
