package guard_test

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/internal/etcdtest"
)

// newAuthStore returns a store of root in an etcd whose tokens live for 3
// seconds, and the client of a user who may read and write under its prefix.
func newAuthStore(t *testing.T) (etcd *etcdtest.AuthServer, s store, app *clientv3.Client) {
	t.Helper()
	etcd = etcdtest.StartAuth(t, etcdtest.AuthConfig{TokenTTL: 3 * time.Second})
	return etcd, store{etcd.Server, etcd.Root(t), etcd.Prefix(t)}, etcd.Client(t)
}

func TestAWatchBeginsThoughTheTokenOfTheClientsStreamIsDead(t *testing.T) {
	t.Parallel()
	_, s, app := newAuthStore(t)
	// Two watches keep their streams open: one of the program's own, and one
	// of a guard. etcd refuses new ones there when the tokens have died.
	own := app.Watch(t.Context(), s.name(), clientv3.WithCreatedNotify())
	receive(t, own)
	g := counter(s.lockerOn(t, app))
	first := watch(t, t.Context(), g)
	wantYields(t, first, absent)
	timeout := time.After(wait)
	for refused := false; !refused; {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		resp, ok := <-app.Watch(ctx, s.name(), clientv3.WithCreatedNotify())
		cancel()
		refused = !ok || resp.Err() != nil
		select {
		case <-timeout:
			t.Fatal("the token does not die")
		case <-time.After(4 * time.Second): // the period of a poll; each use lets the token live 3 seconds longer
		}
	}
	second := watch(t, t.Context(), g)
	wantYields(t, second, absent)
	for n := 1; n < 10; n++ {
		s.put(t, strconv.Itoa(n))
		wantYields(t, first, n)
		wantYields(t, second, n)
	}
}

func TestAWatchEndsWhenItsRoleIsRevoked(t *testing.T) {
	t.Parallel()
	etcd, s, app := newAuthStore(t)
	w := watch(t, t.Context(), counter(s.lockerOn(t, app)))
	wantYields(t, w, absent)
	etcd.Revoke(t, s.prefix)
	y := receive(t, w)
	wantErr(t, y.err, rpctypes.ErrPermissionDenied)
	wantEnd(t, w)
	_, err := counter(s.lockerOn(t, app)).Get(t.Context())
	wantErr(t, err, rpctypes.ErrPermissionDenied)
}

func TestTheCallersMetadataIsNotSentWithReadsAndWatches(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	var mu sync.Mutex
	var sent []string
	note := func(ctx context.Context, method string) {
		if md, _ := metadata.FromOutgoingContext(ctx); len(md.Get("request-id")) > 0 {
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, method)
		}
	}
	client := s.Client(t, func(c *clientv3.Config) {
		c.DialOptions = append(c.DialOptions,
			grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, next grpc.UnaryInvoker, opts ...grpc.CallOption) error {
				note(ctx, method)
				return next(ctx, method, req, reply, cc, opts...)
			}),
			grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, next grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
				note(ctx, method)
				return next(ctx, desc, cc, method, opts...)
			}))
	})
	g := counter(s.lockerOn(t, client))
	ctx := metadata.AppendToOutgoingContext(t.Context(), "request-id", "7")
	v, err := g.Get(ctx, guard.Serializable())
	wantValue(t, v, err, 0)
	_, err = g.GetVersion(ctx)
	wantErr(t, err, nil)
	wantYields(t, watch(t, ctx, g), absent)
	mu.Lock()
	defer mu.Unlock()
	if len(sent) > 0 {
		t.Errorf("the caller's metadata went to etcd with %v", sent)
	}
}
