// Package process builds and runs the servers that tests need, each as a process that does not outlive the one that
// started it.
package process

import (
	"io"
	"os"
	"os/exec"
)

// Process is a running server.
type Process struct {
	cmd   *exec.Cmd
	stdin io.Closer // open while this process lives: the server ends when it is closed
	done  chan struct{}
}

// Start runs the executable at path with args and env; what it prints goes to out, which stays the caller's.
func Start(path string, args, env []string, out *os.File) (*Process, error) {
	cmd := exec.Command(path, args...)
	cmd.Env = env
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = attr()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, stdin: stdin, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		cmd.Wait() // a server that ends is told by Done; why, by its output
	}()
	return p, nil
}

// Pid is the server's process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed once the server has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Finish closes the server's standard input, which asks it to end. Done tells when it has.
func (p *Process) Finish() error { return p.stdin.Close() }

// Kill ends the server with SIGKILL and waits for its end. It is safe to repeat.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.done
	p.stdin.Close()
}

// Pause stops the server with SIGSTOP; on Linux it stands still when Pause returns.
func (p *Process) Pause() error { return pause(p.cmd.Process) }

// Resume lets a paused server go on.
func (p *Process) Resume() error { return resume(p.cmd.Process) }
