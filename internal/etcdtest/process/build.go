package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Build returns the path of the executable of the nested module internal/etcdtest/<name>. It is built into Go's build
// cache, from where later calls take it in a moment; the first build takes up to a minute and says so on the terminal.
func Build(ctx context.Context, name string) (string, error) {
	dir, err := moduleDir(name)
	if err != nil {
		return "", err
	}
	unlock, err := lockBuild(ctx, name)
	if err != nil {
		return "", err
	}
	defer unlock()
	notice := time.AfterFunc(3*time.Second, func() {
		Say("elock: building " + name + " for the first time, this takes up to a minute")
	})
	defer notice.Stop()

	cmd := exec.CommandContext(ctx, "go", "tool", "-n", name)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("process: build %s: %w\n%s", name, err, errs.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
}

// lockBuild keeps the test binaries of one go test from doing the same first build side by side. Only ctx ending is an
// error: without a lock the build is merely slower.
func lockBuild(ctx context.Context, name string) (unlock func(), err error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return func() {}, nil
	}
	dir = filepath.Join(dir, "elock-etcdtest")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return func() {}, nil
	}
	f, err := os.OpenFile(filepath.Join(dir, name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return func() {}, nil
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !tryLock(f) {
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("process: wait for the build of %s: %w", name, ctx.Err())
		case <-tick.C:
		}
	}
	return func() { f.Close() }, nil
}

// Say writes a line to the terminal itself where there is one: go test shows no output of packages that pass.
func Say(line string) {
	out := os.Stderr
	if tty, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0); err == nil {
		defer tty.Close()
		out = tty
	}
	fmt.Fprintln(out, line)
}

// moduleDir finds the nested module beside this package: by this file's own path, or, under -trimpath, by looking for
// the repository above the working directory.
func moduleDir(name string) (string, error) {
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		dir := filepath.Join(filepath.Dir(file), "..", name)
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(mod, []byte("module github.com/phpgao/elock\n")) {
			return filepath.Join(dir, "internal", "etcdtest", name), nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("process: the elock repository is not above the working directory " + wd)
		}
	}
}
