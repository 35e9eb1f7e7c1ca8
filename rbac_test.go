package elock_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// What the README says of permissions: a user who may read and write under the
// prefix can do everything, and elsewhere gets etcd's own error.
func TestAUserWithReadAndWriteUnderThePrefixNeedsNoOtherPermission(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.StartAuth(t, etcdtest.AuthConfig{})
	etcd.Grant(t, "elock")
	ctx := t.Context()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	open := func(opts ...locker.Option) *locker.Locker {
		quiet := locker.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil)))
		l, err := locker.New(etcd.Client(t), append(opts, quiet)...)
		must(l, err)
		t.Cleanup(func() {
			if err := l.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
		return l
	}
	a, b := open(locker.WithTTL(5*time.Second)), open()

	// More than are watched one by one, and held until the leases are renewed.
	space := keyspace.MustNew[int]("account")
	var holds []*locker.Hold
	for i := range 12 {
		h, err := a.Acquire(ctx, space.Key(i))
		must(h, err)
		holds = append(holds, h)
	}
	if _, err := b.TryAcquire(ctx, space.Key(0)); !errors.Is(err, locker.ErrLocked) {
		t.Fatalf("got error %v, want ErrLocked", err)
	}
	waited := make(chan error, 1)
	go func() {
		h, err := b.Acquire(ctx, space.Key(0))
		waited <- errors.Join(err, h.Release(ctx))
	}()
	for {
		q, err := b.Inspect(ctx, space.Key(0))
		must(q, err)
		if len(q.Waiters) == 1 {
			break
		}
	}
	must(b.Evict(ctx, space.Key(11)))
	select {
	case <-holds[11].Context().Done():
		var lost *locker.LostError
		if err := holds[11].Err(); !errors.As(err, &lost) || lost.Reason != locker.ReasonEvicted {
			t.Errorf("got %v, want evicted", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("an evicted holder was not told")
	}
	for left, renewed := holds[0].Remaining(), false; !renewed; {
		time.Sleep(time.Millisecond) // the period of a poll
		if err := holds[0].Err(); err != nil {
			t.Fatal(err)
		}
		now := holds[0].Remaining()
		left, renewed = now, now > left
	}
	for _, h := range holds[:11] {
		if err := h.Release(ctx); err != nil {
			t.Error(err)
		}
	}
	if err := <-waited; err != nil {
		t.Error(err)
	}

	elsewhere := open(locker.WithPrefix("other"))
	for _, call := range []func(context.Context, keyspace.Key, ...locker.AcquireOption) (*locker.Hold, error){
		elsewhere.Acquire, elsewhere.TryAcquire,
	} {
		if _, err := call(ctx, space.Key(0)); !errors.Is(err, rpctypes.ErrPermissionDenied) {
			t.Errorf("got error %v, want etcd's", err)
		}
	}
}
