//go:build unix && !linux

package process

import (
	"errors"
	"syscall"
)

// attr puts the server in a process group of its own, so that Ctrl-C reaches only its parent. A paused server is resumed
// when the parent dies, as the group is orphaned then, and finds its standard input closed.
func attr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func foreignAttr() (*syscall.SysProcAttr, error) { return nil, errors.ErrUnsupported }

func waitStopped(int) error { return nil }
