// Package process builds and runs the servers that tests need, each as a process that does not outlive the one that
// started it.
package process

import (
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// Process is a running server.
type Process struct {
	cmd   *exec.Cmd
	stdin io.Closer // open while this process lives: the server ends when it is closed
	done  chan struct{}
}

// Start runs the executable at path with args and env; what it prints goes to out, which stays the caller's.
func Start(path string, args, env []string, out *os.File) (*Process, error) {
	return start(path, args, env, out, attr())
}

// StartForeign is Start for a server that does not look at its standard input. The kernel kills it when this process dies,
// which only Linux can do; directories that it had then stay behind.
func StartForeign(path string, args, env []string, out *os.File) (*Process, error) {
	attr, err := foreignAttr()
	if err != nil {
		return nil, err
	}
	return start(path, args, env, out, attr)
}

func start(path string, args, env []string, out *os.File, attr *syscall.SysProcAttr) (*Process, error) {
	cmd := exec.Command(path, args...)
	cmd.Env = env
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = attr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, stdin: stdin, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel's signal at the parent's death comes when the thread that started the server ends, so that thread
		// is kept as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		defer close(p.done)
		cmd.Wait() // a server that ends is told by Done; why, by its output
	}()
	if err := <-started; err != nil {
		return nil, err
	}
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
