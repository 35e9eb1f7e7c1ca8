package locker_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/etcdtest/member"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

func TestHoldsAndWaitsSurviveTheReplacementOfAllMembers(t *testing.T) {
	locktest.Heavy(t)
	cluster := etcdtest.StartCluster(t, 3)
	sync := func(c *clientv3.Config) { c.AutoSyncInterval = 100 * time.Millisecond }
	prefix := locker.WithPrefix(cluster.Prefix(t))
	a, b := newLocker(t, cluster.Client(t, keepAlive, sync), prefix), newLocker(t, cluster.Client(t, keepAlive, sync), prefix)
	held := locktest.Acquire(t, a, key)
	got := locktest.Async(t, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		h, err := b.Acquire(ctx, key)
		if err != nil {
			return err
		}
		return h.Release(ctx)
	})
	locktest.UntilQueued(t, a, key, 2)
	space := keyspace.MustNew[int]("n")
	for i, old := range cluster.Members() {
		began := time.Now()
		cluster.Join(t)
		locktest.Release(t, locktest.Acquire(t, a, space.Key(i)))
		cluster.Remove(t, old)
		locktest.Release(t, locktest.Acquire(t, b, space.Key(i)))
		t.Logf("member %d replaced in %v", i, time.Since(began))
		locktest.WantErr(t, held.Err(), nil)
	}
	locktest.Release(t, held)
	locktest.WantErr(t, got(), nil)
	locktest.WantErr(t, a.Close(), nil) // before the new members go away
	locktest.WantErr(t, b.Close(), nil)
}

// A restore sets the revision back, too.
func TestARestoreFromABackupEndsTheHoldsThatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	etcd, err := member.Launch(t.Context(), member.Config{Fsync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = etcd.Stop() })
	client := func() *clientv3.Client {
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{etcd.Endpoint()}, Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	ttl := locker.WithTTL(20 * time.Second)
	a, b := newLocker(t, client(), ttl), newLocker(t, client(), ttl)
	space := keyspace.MustNew[int]("n")
	old := locktest.Acquire(t, a, space.Key(1))
	etcd.Kill()
	backup := filepath.Join(t.TempDir(), "backup")
	copyDir(t, etcd.Dir(), backup)
	restart := func() {
		ctx, cancel := context.WithTimeout(t.Context(), locktest.Wait)
		defer cancel()
		if err := etcd.Restart(ctx); err != nil {
			t.Fatal(err)
		}
	}
	restart()
	locktest.WantErr(t, old.Err(), nil)
	for i := range 20 { // the revision grows
		locktest.Release(t, locktest.Acquire(t, b, space.Key(100+i)))
	}
	young := locktest.Acquire(t, a, space.Key(2))
	locktest.Until(t, "the holds are watched", func() bool { return locker.Watched(a) == 2 })
	etcd.Kill()
	if err := os.RemoveAll(etcd.Dir()); err != nil {
		t.Fatal(err)
	}
	copyDir(t, backup, etcd.Dir())
	began := time.Now()
	restart()
	locktest.Receive(t, young.Context().Done())
	t.Logf("a hold that the backup does not know ended after %v: %v", time.Since(began), young.Err())
	locktest.WantErr(t, young.Err(), locker.ErrLost)
	locktest.WantErr(t, old.Err(), nil)
	if _, err := b.TryAcquire(t.Context(), space.Key(1)); err == nil {
		t.Error("a second hold of a lock")
	}
	for _, l := range []*locker.Locker{b, a} {
		for i := range 3 {
			locktest.Release(t, locktest.Acquire(t, l, space.Key(2+i)))
		}
	}
	locktest.Release(t, old)
	locktest.Release(t, locktest.Acquire(t, b, space.Key(1)))
}

func copyDir(tb testing.TB, from, to string) {
	tb.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		tb.Fatal(err)
	}
}
