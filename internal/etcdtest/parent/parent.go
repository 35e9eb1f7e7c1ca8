// Package parent makes a server of tests end with the process that started it.
package parent

import (
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Follow does nothing unless ELOCK_ETCD_REMOVE names a directory, as it does in tests. Then it watches the standard input,
// whose write end the parent holds: once that is closed, by the parent or by the parent's death, the directory is removed,
// and this process ends.
func Follow() {
	dir := os.Getenv("ELOCK_ETCD_REMOVE")
	if dir == "" {
		return
	}
	// A paused server whose parent dies is resumed by the kernel with SIGHUP and SIGCONT (an orphaned process group):
	// the first must not end it before it has cleaned up.
	signal.Ignore(syscall.SIGHUP)
	go follow(dir)
}

func follow(dir string) {
	io.Copy(io.Discard, os.Stdin)
	// The server goes on writing meanwhile, so one pass can miss a file.
	for range 10 {
		os.RemoveAll(dir)
		if _, err := os.Stat(dir); err != nil {
			break
		}
	}
	os.Exit(0)
}
