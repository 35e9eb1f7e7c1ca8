package locker_test

import (
	"context"
	"errors"
	"flag"
	"sync/atomic"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

var key = keyspace.MustParse("space/key")

// plain makes Lockers of tests send each transaction alone and hand nothing on,
// unless the test says otherwise.
var plain = flag.String("plain", "", "which Lockers are plain: all, or every other one (mixed)")

// background makes Lockers of tests release in the background what a Run has locked, unless the test says otherwise.
var background = flag.Bool("background", false, "Lockers release in the background")

var made atomic.Int64

// newLocker returns a Locker that is quiet and closed when the test ends.
func newLocker(tb testing.TB, client *clientv3.Client, opts ...locker.Option) *locker.Locker {
	tb.Helper()
	if n := made.Add(1); *plain == "all" || *plain == "mixed" && n%2 == 0 {
		opts = append([]locker.Option{locker.WithoutBatching(), locker.WithHandoff(0)}, opts...)
	}
	if *background {
		opts = append([]locker.Option{locker.WithReleaseInBackground(nil)}, opts...)
	}
	return locktest.New(tb, client, opts...)
}

// released waits for releases in the background, so that free becomes true.
func released(tb testing.TB, free func() bool) {
	tb.Helper()
	if *background {
		locktest.Until(tb, "releases in the background have ended", free)
	}
}

// newPair returns the Lockers of two processes, and a client beside them.
func newPair(tb testing.TB, opts ...locker.Option) (a, b *locker.Locker, client *clientv3.Client, prefix string) {
	tb.Helper()
	return newPairOn(tb, etcdtest.Start(tb), opts...)
}

// newPairOn is newPair on a server that is given.
func newPairOn(tb testing.TB, s *etcdtest.Server, opts ...locker.Option) (a, b *locker.Locker, client *clientv3.Client, prefix string) {
	tb.Helper()
	prefix = s.Prefix(tb)
	opts = append([]locker.Option{locker.WithPrefix(prefix)}, opts...)
	return newLocker(tb, s.Client(tb), opts...), newLocker(tb, s.Client(tb), opts...), s.Client(tb), prefix
}

// anyHold is a *locker.Hold or a *locker.HoldSet.
type anyHold interface {
	Context() context.Context
	Err() error
	Read() []*mvccpb.KeyValue
	Commit(ctx context.Context, cmps []clientv3.Cmp, ops ...clientv3.Op) (bool, error)
	Release(ctx context.Context) error
}

// tokens are those of a hold, by key.
func tokens(h anyHold) map[keyspace.Key]locker.Token {
	if h, ok := h.(*locker.Hold); ok {
		return map[keyspace.Key]locker.Token{h.Key(): h.Token()}
	}
	return h.(*locker.HoldSet).Tokens()
}

// keys returns the names of all keys under prefix.
func keys(tb testing.TB, client *clientv3.Client, prefix string) []string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), locktest.Wait)
	defer cancel()
	var names []string
	for _, dir := range []string{"/" + prefix + "/", "/" + prefix + ":/"} {
		resp, err := client.Get(ctx, dir, clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil {
			tb.Fatal(err)
		}
		for _, kv := range resp.Kvs {
			names = append(names, string(kv.Key))
		}
	}
	return names
}

// beside returns the Locker of another process, with options of its own.
func beside(tb testing.TB, prefix string, opts ...locker.Option) *locker.Locker {
	tb.Helper()
	return newLocker(tb, etcdtest.Start(tb).Client(tb), append(opts, locker.WithPrefix(prefix))...)
}

var errNoAnswer = errors.New("test: no answer")

// The tests in the files field_concurrency*_test.go are about failures that
// were met in etcd's own locks, client/v3/concurrency and the recipes. Each
// names the number of its failure.

var errNet = errors.New("test: network broken")

// An outcome is what an acquire returned.
type outcome struct {
	h   *locker.Hold
	err error
}

// acquiring acquires k on a goroutine.
func acquiring(ctx context.Context, l *locker.Locker, k keyspace.Key) <-chan outcome {
	c := make(chan outcome, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, locktest.Wait)
		defer cancel()
		h, err := l.Acquire(ctx, k)
		c <- outcome{h, err}
	}()
	return c
}

// granted waits for the hold of an acquire.
func granted(tb testing.TB, c <-chan outcome) *locker.Hold {
	tb.Helper()
	o := locktest.Receive(tb, c)
	if o.err != nil {
		tb.Fatal(o.err)
	}
	return o.h
}

// wantWaiting fails the test if an acquire has returned.
func wantWaiting(tb testing.TB, c <-chan outcome) {
	tb.Helper()
	select {
	case o := <-c:
		tb.Fatalf("acquire returned %v, %v; want it to wait", o.h, o.err)
	default:
	}
}

// releaseHeld releases h, and fails the test unless h was alive until then, at
// home and in etcd, and kept rival out.
func releaseHeld(tb testing.TB, h *locker.Hold, rival *locker.Locker) {
	tb.Helper()
	if err := h.Err(); err != nil {
		tb.Fatalf("hold has ended: %v", err)
	}
	if _, err := rival.TryAcquire(context.Background(), h.Key()); !errors.Is(err, locker.ErrLocked) {
		tb.Fatalf("a rival's try gave %v, want ErrLocked", err)
	}
	locktest.Release(tb, h) // ErrLost if its key is gone
}

// entryOf returns the name of the hold's entry in etcd.
func entryOf(h *locker.Hold) string {
	fence := h.Fence()
	return string(fence.KeyBytes())
}

// queue returns the entries of key in etcd, the holder first.
func queue(tb testing.TB, client *clientv3.Client, prefix string) []*mvccpb.KeyValue {
	tb.Helper()
	resp, err := client.Get(context.Background(), key.Path(prefix), clientv3.WithPrefix(),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	if err != nil {
		tb.Fatal(err)
	}
	return resp.Kvs
}
