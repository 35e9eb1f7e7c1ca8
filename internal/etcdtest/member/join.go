package member

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Join launches one more member of the cluster that others are all members of, and waits until it serves. add tells the
// cluster of it, and gets the URL where the others reach it. A learner serves only requests for its status.
func Join(ctx context.Context, others []*Member, learner bool, add func(peer string) error) (_ *Member, err error) {
	like := others[0]
	root, err := os.MkdirTemp("", "elock-etcd-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(root)
		}
	}()
	client, err := freeURL(like.cfg.TLS)
	if err != nil {
		return nil, err
	}
	peer, err := freeURL(nil)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("joined-%x", rand.Uint64())
	m := &Member{
		name: name, client: client, peer: peer, cfg: like.cfg,
		exe: like.exe, version: like.version, root: root, dir: filepath.Join(root, name),
	}
	if err := add(peer); err != nil {
		return nil, err
	}
	var cluster []string
	for _, o := range append(slices.Clone(others), m) {
		cluster = append(cluster, o.name+"="+o.peer)
	}
	m.flags = []string{
		"--name=" + m.name,
		"--data-dir=" + m.dir,
		"--listen-client-urls=" + m.client,
		"--advertise-client-urls=" + m.client,
		"--listen-peer-urls=" + m.peer,
		"--initial-advertise-peer-urls=" + m.peer,
		"--initial-cluster=" + strings.Join(cluster, ","),
		"--initial-cluster-state=existing",
	}
	if err := m.start(); err != nil {
		return nil, err
	}
	ready := m.waitReady
	if learner {
		ready = m.waitLearner
	}
	if err := ready(ctx); err != nil {
		m.Kill()
		return nil, err
	}
	return m, nil
}

// waitLearner returns once the member is a learner that knows the leader, or with the end of its log if it does not.
func (m *Member) waitLearner(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		metrics, err := m.Get(ctx, "/metrics") // which needs no login
		if err == nil && bytes.Contains(metrics, []byte("\netcd_server_is_learner 1\n")) && bytes.Contains(metrics, []byte("\netcd_server_has_leader 1\n")) {
			return nil
		}
		select {
		case <-m.process().Done():
			return m.startError(errors.New("etcd ended"))
		case <-ctx.Done():
			return m.startError(ctx.Err())
		case <-tick.C:
		}
	}
}
