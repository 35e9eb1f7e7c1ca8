package process

import (
	"os"
	"syscall"
	"unsafe"
)

// attr puts the server in a process group of its own, so that Ctrl-C reaches only its parent. A paused server is resumed
// when the parent dies, and then finds its standard input closed.
func attr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGCONT}
}

// foreignAttr is attr for a server that does not look at its standard input.
func foreignAttr() (*syscall.SysProcAttr, error) {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}, nil
}

// waitStopped returns once every thread of the child pid stands still: SIGSTOP alone is only a request.
func waitStopped(pid int) error {
	const pPid, wNoWait = 1, syscall.WNOWAIT // WNOWAIT: the child stays waitable for a second Pause
	var info [128]byte                       // siginfo_t, unused
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, pPid, uintptr(pid),
			uintptr(unsafe.Pointer(&info)), syscall.WSTOPPED|wNoWait, 0, 0)
		switch errno {
		case 0:
			return nil
		case syscall.EINTR:
		case syscall.ECHILD:
			return os.ErrProcessDone
		default:
			return os.NewSyscallError("waitid", errno)
		}
	}
}
