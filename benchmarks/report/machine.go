package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// machine returns lines, as the results have them, about what the benchmarks run on. What cannot be found out is left out.
func machine(ctx context.Context, dir string) []byte {
	var b bytes.Buffer
	say := func(key, value string) {
		if value = strings.TrimSpace(value); value != "" {
			fmt.Fprintf(&b, "%s: %s\n", key, value)
		}
	}
	command := func(dir, name string, args ...string) string {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir = dir
		out, err := cmd.Output()
		if err != nil {
			return ""
		}
		return string(out)
	}
	say("cores", fmt.Sprint(runtime.NumCPU()))
	say("memory", field("/proc/meminfo", "MemTotal"))
	say("system", field("/etc/os-release", "PRETTY_NAME")+", "+command(dir, "uname", "-sr"))
	say("disk", disk())
	say("go", strings.TrimPrefix(runtime.Version(), "go"))
	say("commit", command(dir, "git", "describe", "--always", "--dirty", "--exclude", "*"))
	module := func(dir, path string) string {
		return command(dir, "go", "list", "-m", "-f", "{{.Version}}", path)
	}
	server := filepath.Join(dir, "..", "internal", "etcdtest", "etcd")
	say("etcd", module(server, "go.etcd.io/etcd/server/v3"))
	say("etcd-client", module(dir, "go.etcd.io/etcd/client/v3"))
	say("redis", regexp.MustCompile(`v=(\S+)`).FindString(command(dir, "redis-server", "--version")))
	for _, path := range []string{"github.com/bsm/redislock", "github.com/go-redsync/redsync/v4", "github.com/redis/rueidis"} {
		say(strings.Split(path, "/")[2], module(filepath.Join(dir, "peers"), path))
	}
	return b.Bytes()
}

// field returns what a file of lines "name: value" or "name=value" says of a name.
func field(file, name string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), name); ok {
			return strings.Trim(rest, `:=" `)
		}
	}
	return ""
}

// disk tells how long the disk takes for what etcd and a durable Redis wait for.
func disk() string {
	f, err := os.CreateTemp("", "elock-report-*")
	if err != nil {
		return ""
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var took []float64
	for range 200 {
		began := time.Now()
		if _, err := f.Write(make([]byte, 1024)); err != nil {
			return ""
		}
		if err := f.Sync(); err != nil {
			return ""
		}
		took = append(took, time.Since(began).Seconds())
	}
	return fmt.Sprintf("1 KiB written and synced in %s (median of %d)", format(median(took), "sec"), len(took))
}
