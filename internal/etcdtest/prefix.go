package etcdtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Prefix returns a prefix for locks that no other test has: one segment, made of the test's name and a random end. All keys
// under it, in "/<prefix>/" and "/<prefix>:/", are deleted when the test ends. With auth the plain
// user may read and write there, and in "/<prefix>-", where a test may keep what is no lock.
func (s *Server) Prefix(tb testing.TB) string {
	tb.Helper()
	prefix := fmt.Sprintf("%s-%08x", safe(tb.Name()), rand.Uint32())
	if s.users != nil {
		if err := s.grant("/"+prefix+"/", "/"+prefix+":/", "/"+prefix+"-"); err != nil {
			tb.Fatal(err)
		}
	}
	if !s.own {
		tb.Cleanup(func() {
			if err := s.deleteAll(prefix); err != nil {
				tb.Errorf("delete keys of the test: %v", err)
			}
		})
	}
	return prefix
}

func (s *Server) deleteAll(prefix string) error {
	return s.asRoot(func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Txn(ctx).Then(
			clientv3.OpDelete("/"+prefix+"/", clientv3.WithPrefix()),
			clientv3.OpDelete("/"+prefix+":/", clientv3.WithPrefix()),
		).Commit()
		return err
	})
}

// safe keeps the letters and digits of a test's name.
func safe(name string) string {
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, name)
	return name[:min(len(name), 60)]
}
