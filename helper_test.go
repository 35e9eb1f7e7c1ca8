package elock_test

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/phpgao/elock"
	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// keyName is the lock of most tests, and key the same for package locker.
const keyName = "space/key"

var key = keyspace.MustParse(keyName)

// newELocker returns an ELocker that is quiet and closed when the test ends.
func newELocker(tb testing.TB, client *clientv3.Client, opts ...elock.Opt) *elock.ELocker {
	tb.Helper()
	quiet := elock.WithLockerOptions(locker.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))))
	return locktest.Closing(tb, elock.NewELocker(client, append([]elock.Opt{quiet}, opts...)...))
}

// newPair returns the ELockers of two processes, and a client beside them.
func newPair(tb testing.TB, opts ...elock.Opt) (a, b *elock.ELocker, client *clientv3.Client, prefix string) {
	tb.Helper()
	s := etcdtest.Start(tb)
	prefix = s.Prefix(tb)
	opts = append([]elock.Opt{elock.WithPrefix(prefix)}, opts...)
	return newELocker(tb, s.Client(tb), opts...), newELocker(tb, s.Client(tb), opts...), s.Client(tb), prefix
}

// beside returns the ELocker of another process, with options of its own.
func beside(tb testing.TB, prefix string, opts ...elock.Opt) *elock.ELocker {
	tb.Helper()
	return newELocker(tb, etcdtest.Start(tb).Client(tb), append(opts, elock.WithPrefix(prefix))...)
}

// impatient makes the monitor end every hold soon.
func impatient() []elock.Opt {
	return []elock.Opt{elock.WithMaxHeldTime(100 * time.Millisecond), elock.WithMonitorTicks(5 * time.Millisecond)}
}

// A wire is what the unary requests of a client go through.
type wire struct {
	sent   atomic.Int64
	before func(ctx context.Context, req any) error // an error is returned instead of sending; may be nil
}

func (w *wire) client(tb testing.TB) *clientv3.Client {
	tb.Helper()
	return etcdtest.Start(tb).Client(tb, func(c *clientv3.Config) {
		c.DialOptions = append(c.DialOptions, grpc.WithChainUnaryInterceptor(
			func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
				w.sent.Add(1)
				if w.before != nil {
					if err := w.before(ctx, req); err != nil {
						return err
					}
				}
				return invoke(ctx, method, req, reply, cc, opts...)
			}))
	})
}

// wantNothingSent fails the test if requests were sent since it was last called.
func (w *wire) wantNothingSent(tb testing.TB) {
	tb.Helper()
	if n := w.sent.Swap(0); n != 0 {
		tb.Errorf("%d requests were sent to etcd", n)
	}
}

// writes reports whether a request is a transaction that puts or deletes.
func writes(req any) bool {
	txn, ok := req.(*pb.TxnRequest)
	if !ok {
		return false
	}
	for _, op := range txn.Success {
		if op.GetRequestPut() != nil || op.GetRequestDeleteRange() != nil {
			return true
		}
	}
	return false
}

func lock(tb testing.TB, l *elock.ELocker, name string) {
	tb.Helper()
	if err := l.Lock(tb.Context(), name, 15); err != nil {
		tb.Fatal(err)
	}
}

func unlock(tb testing.TB, l *elock.ELocker, name string) {
	tb.Helper()
	if err := l.Unlock(tb.Context(), name); err != nil {
		tb.Fatal(err)
	}
}

// untilLocked locks name as soon as it is free.
func untilLocked(tb testing.TB, l *elock.ELocker, name string) {
	tb.Helper()
	locktest.Until(tb, name+" can be locked", func() bool { return l.Lock(tb.Context(), name, 15) == nil })
}

// evict takes key from its holder.
func evict(tb testing.TB, l *elock.ELocker) {
	tb.Helper()
	if done, err := l.Locker().Evict(tb.Context(), key); !done || err != nil {
		tb.Fatalf("Evict: %v, %v", done, err)
	}
}

// revokeLeases revokes the leases of all locks under prefix.
func revokeLeases(tb testing.TB, client *clientv3.Client, prefix string) {
	tb.Helper()
	resp, err := client.Get(tb.Context(), "/"+prefix+"/", clientv3.WithPrefix())
	if err != nil || len(resp.Kvs) == 0 {
		tb.Fatalf("no locks: %v, %v", resp, err)
	}
	for _, kv := range resp.Kvs {
		_, _ = client.Revoke(tb.Context(), clientv3.LeaseID(kv.Lease)) // several locks share one
	}
}

// wantFree fails the test if a key is left under prefix.
func wantFree(tb testing.TB, client *clientv3.Client, prefix string) {
	tb.Helper()
	resp, err := client.Get(tb.Context(), "/"+prefix+"/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		tb.Fatal(err)
	}
	for _, kv := range resp.Kvs {
		tb.Errorf("key %s is left", kv.Key)
	}
}
