//go:build unix && !linux

package process

import "syscall"

// attr puts the server in a process group of its own, so that Ctrl-C reaches only its parent. A paused server is resumed
// when the parent dies, as the group is orphaned then, and finds its standard input closed.
func attr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func waitStopped(int) error { return nil }
