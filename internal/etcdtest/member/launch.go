package member

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/phpgao/elock/internal/etcdtest/process"
)

// Config says how members are run. The zero Config is right for most tests.
type Config struct {
	Version string   // such as V35; empty for the newest
	Fsync   bool     // wait for the disk, as a real server does; without it, only a crash of the machine loses data
	Flags   []string // more of etcd's flags, such as --quota-backend-bytes=1048576

	// Between returns the address by which other members reach one that listens on an address (both host:port), such as that
	// of a proxy before it. Nil: the same.
	Between func(hostport string) string

	// TLS is how clients connect, where Flags make the server ask for it.
	TLS *tls.Config

	// User and Password are a root user's. They are needed for restarts while auth is on.
	User, Password string
}

// Launch starts an etcd of one member and waits until it serves. ctx bounds the wait, with the first build of etcd, and not
// the member's life: that ends with Stop, or with this process. After an error nothing is left running.
func Launch(ctx context.Context, cfg Config) (*Member, error) {
	members, err := LaunchCluster(ctx, 1, cfg)
	if err != nil {
		return nil, err
	}
	return members[0], nil
}

// LaunchCluster is Launch for n members that form one cluster.
func LaunchCluster(ctx context.Context, n int, cfg Config) ([]*Member, error) {
	exe, err := Executable(ctx, cfg.Version)
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		members, err := launch(ctx, exe, n, cfg)
		if err == nil || attempt == 5 || !errors.Is(err, errPortTaken) {
			return members, err
		}
	}
}

func launch(ctx context.Context, exe string, n int, cfg Config) (members []*Member, err error) {
	root, err := os.MkdirTemp("", "elock-etcd-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			for _, m := range members {
				if m.proc != nil {
					m.Kill()
				}
			}
			os.RemoveAll(root)
			members = nil
		}
	}()

	id := rand.Uint64() // so that no member takes another etcd, on a port it hoped for, for itself
	var cluster []string
	for i := range n {
		client, err := freeURL(cfg.TLS)
		if err != nil {
			return nil, err
		}
		peer, err := freeURL(nil)
		if err != nil {
			return nil, err
		}
		listens := peer
		if cfg.Between != nil {
			scheme, hostport, _ := strings.Cut(peer, "://")
			peer = scheme + "://" + cfg.Between(hostport)
		}
		name := fmt.Sprintf("m%d-%x", i, id)
		members = append(members, &Member{
			name: name, client: client, peer: peer, cfg: cfg,
			flags: []string{"--listen-peer-urls=" + listens},
			exe:   exe, version: cfg.Version, root: root, dir: filepath.Join(root, name),
		})
		cluster = append(cluster, name+"="+peer)
	}
	for _, m := range members {
		m.flags = append(m.flags,
			"--name="+m.name,
			"--data-dir="+m.dir,
			"--listen-client-urls="+m.client,
			"--advertise-client-urls="+m.client,
			"--initial-advertise-peer-urls="+m.peer,
			"--initial-cluster="+strings.Join(cluster, ","),
			fmt.Sprintf("--initial-cluster-token=%x", id),
		)
		if err := m.start(); err != nil {
			return members, err
		}
	}
	for _, m := range members {
		if err := m.waitReady(ctx); err != nil {
			return members, err
		}
	}
	return members, nil
}

func freeURL(secure *tls.Config) (string, error) {
	scheme := "http"
	if secure != nil {
		scheme = "https"
	}
	port, err := process.FreePort()
	return fmt.Sprintf("%s://127.0.0.1:%d", scheme, port), err
}
