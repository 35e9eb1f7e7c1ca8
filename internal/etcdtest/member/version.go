package member

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"runtime"

	"github.com/phpgao/elock/internal/etcdtest/process"
)

// The versions that can be run.
const (
	V34    = "3.4" // what the Debian package etcd-server installs
	V35    = "3.5"
	V36    = "3.6"
	V37    = "3.7"
	Newest = V37
)

// modules are the nested modules that pin and build each version.
var modules = map[string]string{V35: "etcd35", V36: "etcd36", V37: "etcd"}

// ErrMissing is matched by the error for a version that this machine does not have.
var ErrMissing = errors.New("this version of etcd is not installed")

// debian is where the Debian package etcd-server puts the server.
const debian = "/usr/bin/etcd"

// Executable returns the server's path, building it if need be. The empty version is the newest.
func Executable(ctx context.Context, version string) (string, error) {
	switch {
	case version == "":
		version = Newest
	case version == V34:
		return debian, installed(ctx)
	}
	module, ok := modules[version]
	if !ok {
		return "", fmt.Errorf("member: unknown version of etcd %q: use 3.4, 3.5, 3.6 or 3.7", version)
	}
	return process.Build(ctx, module)
}

// Available returns an error that matches ErrMissing if this machine does not have the version and cannot build it.
func Available(ctx context.Context, version string) error {
	if version == V34 {
		return installed(ctx)
	}
	return nil
}

func installed(ctx context.Context) error {
	if runtime.GOOS != "linux" { // elsewhere it would outlive this process
		return fmt.Errorf("member: etcd 3.4: %w: it runs on Linux only", ErrMissing)
	}
	out, err := exec.CommandContext(ctx, debian, "--version").Output()
	if err != nil {
		return fmt.Errorf("member: etcd 3.4: %w: %w", ErrMissing, err)
	}
	if !regexp.MustCompile(`(?m)^etcd Version: 3\.4\.`).Match(out) {
		return fmt.Errorf("member: etcd 3.4: %w: %s says %q", ErrMissing, debian, out)
	}
	return nil
}

// common are the flags of a member that depend on its version.
func (c Config) common(version string) []string {
	if version == V34 { // it always waits for the disk, and its default log has no levels
		return []string{"--logger=zap", "--log-level=error"}
	}
	return []string{"--log-level=error", fmt.Sprintf("--unsafe-no-fsync=%t", !c.Fsync)}
}
