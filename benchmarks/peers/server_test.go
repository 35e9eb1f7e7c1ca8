package peers

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/phpgao/elock/internal/etcdtest/process"
)

// durable are the settings with which Redis, as etcd does, answers a write when it is on the disk. Without them a crash of
// the server forgets the locks of up to an hour.
var durable = []string{"--appendonly", "yes", "--appendfsync", "always"}

// startRedis runs a redis-server on the loopback until the test ends, and returns its address. It skips the test if there
// is no such program.
func startRedis(tb testing.TB, flags ...string) (addr string) {
	tb.Helper()
	exe, err := exec.LookPath("redis-server")
	if err != nil {
		const why = "needs redis-server, such as Debian's package of that name"
		fmt.Fprintf(os.Stderr, "%s: skipped: %s\n", tb.Name(), why) // go test itself says so only if asked
		tb.Skip(why)
	}
	log, err := os.Create(tb.TempDir() + "/log")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { log.Close() })
	port, err := process.FreePort()
	if err != nil {
		tb.Fatal(err)
	}
	// Without a file of settings it has its defaults, which are those of Debian's file, but for where things are.
	args := append([]string{"--bind", "127.0.0.1", "--port", fmt.Sprint(port), "--dir", tb.TempDir()}, flags...)
	// The shell kills it when its own standard input is closed: at the end of this process, however that comes.
	server := exec.Command("sh", append([]string{"-c", `trap "" INT; "$0" "$@" & read _; kill -9 $!`, exe}, args...)...)
	server.Stdout, server.Stderr = log, log
	alive, err := server.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := server.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		alive.Close()
		server.Wait() // fails, as it was killed
	})

	addr = fmt.Sprintf("127.0.0.1:%d", port)
	client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if client.Ping(ctx).Err() == nil {
			return addr
		}
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
		}
		said, _ := io.ReadAll(io.NewSectionReader(log, 0, 4096))
		tb.Fatalf("redis-server does not serve:\n%s", bytes.TrimSpace(said))
	}
}
