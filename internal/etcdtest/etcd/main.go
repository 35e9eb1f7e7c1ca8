// Command etcd is the etcd server, made to end with the process that started it.
//
// It takes etcd's own flags. The parent holds the write end of its standard input: once that is closed, by the
// parent or by the parent's death, the server removes the directory named by ELOCK_ETCD_REMOVE, if any, and is gone.
package main

import (
	"io"
	"os"
	"os/signal"
	"syscall"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	// A paused server whose parent dies is resumed by the kernel with SIGHUP and SIGCONT (an orphaned process group):
	// the first must not end it before it has cleaned up.
	signal.Ignore(syscall.SIGHUP)
	go endWithParent(os.Getenv("ELOCK_ETCD_REMOVE"))
	etcdmain.Main(os.Args)
}

func endWithParent(dir string) {
	io.Copy(io.Discard, os.Stdin)
	if dir != "" {
		// The server goes on writing meanwhile, so one pass can miss a file.
		for range 10 {
			os.RemoveAll(dir)
			if _, err := os.Stat(dir); err != nil {
				break
			}
		}
	}
	os.Exit(0)
}
