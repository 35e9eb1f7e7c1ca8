// Package child runs a program again, as child processes that tell in JSON what happens to them.
package child

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
)

// A Process is a child process. The zero Process has none.
type Process struct {
	Cmd   *exec.Cmd
	Stdin io.WriteCloser
	told  io.Reader // what it writes to standard output
}

// New returns this program as a child process that has not started yet. Once ctx is done it is killed, unless its Cmd says
// otherwise.
func New(ctx context.Context, args ...string) (Process, error) {
	self, err := os.Executable()
	if err != nil {
		return Process{}, err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return Process{}, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return Process{}, err
	}
	return Process{cmd, stdin, stdout}, nil
}

// env has what a child process is to be.
const env = "ELOCK_EXAMPLE_CHILD"

// Environ returns the environment that makes this program a child process, and gives it config, in JSON.
func Environ(config any) ([]string, error) {
	encoded, err := json.Marshal(config)
	return append(os.Environ(), env+"="+string(encoded)), err
}

// Start starts this program again, as a child process that is given config. Once ctx is done it is killed.
func Start(ctx context.Context, config any) (Process, error) {
	p, err := New(ctx)
	if err != nil {
		return Process{}, err
	}
	if p.Cmd.Env, err = Environ(config); err != nil {
		return Process{}, err
	}
	return p, p.Cmd.Start()
}

// Main is the main of a process that was given its config: it calls live, and reports whether this process is one. If live fails,
// failed is to tell, and the process ends with status 1.
func Main[C any](live func(*C) error, failed func(*C, error)) bool {
	encoded, is := os.LookupEnv(env)
	if !is {
		return false
	}
	config := new(C)
	err := json.Unmarshal([]byte(encoded), config)
	if err == nil {
		err = live(config)
	}
	if err != nil {
		failed(config, err)
		os.Exit(1)
	}
	return true
}

// Tell has a child process tell its parent of event, in one piece: nobody who is killed leaves half a line.
func Tell(event any) { json.NewEncoder(os.Stdout).Encode(event) }

// Say sends a line to the process. It does not matter if that has ended, or if there is none.
func (p Process) Say(line string) {
	if p.Stdin != nil {
		io.WriteString(p.Stdin, line+"\n")
	}
}

// Listen calls heard with each event that a started process tells, until it has ended. The error is that of its end.
func Listen[E any](p Process, heard func(E)) error {
	for told := json.NewDecoder(p.told); ; {
		var e E
		if told.Decode(&e) != nil {
			return p.Cmd.Wait()
		}
		heard(e)
	}
}
