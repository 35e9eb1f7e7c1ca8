package watchstream

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
)

type tracing struct{}

// callers is the context of a caller that itself serves and calls others.
func callers(t *testing.T) context.Context {
	ctx := context.WithValue(t.Context(), tracing{}, "trace")
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "secret")
	return metadata.AppendToOutgoingContext(ctx, "request-id", "7")
}

func sent(ctx context.Context) string {
	md, _ := metadata.FromOutgoingContext(ctx)
	return fmt.Sprint(map[string][]string(md))
}

func TestACallersMetadataIsStrippedAndItsValuesAreKept(t *testing.T) {
	t.Parallel()
	var s Streams
	for name, ctx := range map[string]context.Context{"Own": Own(callers(t)), "Context": s.Context(callers(t))} {
		md, _ := metadata.FromOutgoingContext(ctx)
		if md.Get("authorization") != nil || md.Get("request-id") != nil {
			t.Errorf("%s: the caller's metadata goes along: %v", name, md)
		}
		if ctx.Value(tracing{}) != "trace" {
			t.Errorf("%s: a value of the context is lost", name)
		}
	}
	if ctx := t.Context(); Own(ctx) != ctx {
		t.Error("Own changes a context without metadata")
	}
}

func TestWatchesShareAStreamUntilItIsReplaced(t *testing.T) {
	t.Parallel()
	var s, other Streams
	first := s.Context(callers(t))
	if got := s.Context(t.Context()); sent(got) != sent(first) {
		t.Errorf("got %s, want the stream %s", sent(got), sent(first))
	}
	if got := other.Context(t.Context()); sent(got) == sent(first) {
		t.Errorf("two Streams share the stream %s", sent(first))
	}
	s.Replace(clientv3.WithRequireLeader(first))
	second := s.Context(t.Context())
	if sent(second) == sent(first) {
		t.Error("a dead stream was not replaced")
	}
	for name, ctx := range map[string]context.Context{"old": first, "foreign": other.Context(t.Context()), "unmarked": t.Context()} {
		s.Replace(ctx)
		if got := s.Context(t.Context()); sent(got) != sent(second) {
			t.Errorf("the end of an %s stream replaced the current one", name)
		}
	}
}

func TestFreshStreamsThatDieAreTakenWithAPauseThatGrows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s Streams
		die := func() time.Duration {
			s.Replace(s.Context(t.Context()))
			began := time.Now()
			if err := s.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			return time.Since(began)
		}
		for range 2 {
			if got := die(); got != 0 {
				t.Errorf("the first fresh stream comes after %v", got)
			}
			for want := firstPause; want < 10*maxPause; want *= 2 {
				if got := die(); got != min(want, maxPause) {
					t.Errorf("a pause of %v, want %v", got, min(want, maxPause))
				}
			}
			time.Sleep(time.Minute) // the stream works
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Wait(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v", err)
		}
	})
}

func TestARefusalForAuthSaysThatTheStreamIsDead(t *testing.T) {
	t.Parallel()
	// The client makes an error of the text that etcd gives as the reason.
	asWatch := func(err error) error { return rpctypes.Error(errors.New(err.Error())) }
	for _, err := range []error{
		rpctypes.ErrInvalidAuthToken, asWatch(rpctypes.ErrGRPCInvalidAuthToken),
		rpctypes.ErrAuthOldRevision, asWatch(rpctypes.ErrGRPCAuthOldRevision),
		rpctypes.ErrUserEmpty, asWatch(rpctypes.ErrGRPCUserEmpty),
		rpctypes.ErrPermissionDenied, asWatch(rpctypes.ErrGRPCPermissionDenied),
		fmt.Errorf("watch: %w", rpctypes.ErrInvalidAuthToken),
	} {
		if !Dead(err) {
			t.Errorf("%v: a fresh stream may help", err)
		}
	}
	for _, err := range []error{nil, context.Canceled, rpctypes.ErrCompacted, rpctypes.ErrNoLeader, rpctypes.ErrAuthFailed, errors.New("x")} {
		if Dead(err) {
			t.Errorf("%v: a fresh stream does not help", err)
		}
	}
}

func TestAClientHasOneStreamsAsLongAsItIsInUse(t *testing.T) {
	a, b := clientv3.NewCtxClient(t.Context()), clientv3.NewCtxClient(t.Context())
	if first, again := Of(a), Of(a); first != again || first == Of(b) {
		t.Error("want one Streams for each client")
	}
	runtime.KeepAlive(a)
	runtime.KeepAlive(b)
	for until := time.Now().Add(30 * time.Second); ; {
		runtime.GC()
		clients.Lock()
		left := len(clients.streams)
		clients.Unlock()
		if left == 0 {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%d Streams of clients that are gone", left)
		}
	}
}
