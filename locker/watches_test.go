package locker_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/locker"
)

// A noting watcher notes the streams that watches choose.
type noting struct {
	clientv3.Watcher
	silent  bool // no watch is ever in place
	mu      sync.Mutex
	streams map[string]bool
}

func (w *noting) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	md, _ := metadata.FromOutgoingContext(ctx)
	w.mu.Lock()
	w.streams[strings.Join(md.Get("elock-watch-stream"), ",")] = true
	w.mu.Unlock()
	if w.silent {
		<-ctx.Done()
		ended := make(chan clientv3.WatchResponse)
		close(ended)
		return ended
	}
	return w.Watcher.Watch(ctx, key, opts...)
}

// The reason for a loss is looked for by a watch, for half a second. If that is in
// place there is nothing wrong with its stream, which all watches share.
func TestAWatchThatIsGivenUpReplacesItsStreamIfThatIsSilent(t *testing.T) {
	for name, silent := range map[string]bool{"in place": false, "silent": true} {
		t.Run(name, func(t *testing.T) {
			simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
				c := sim.NewClient("a")
				w := &noting{Watcher: c.Watcher, silent: silent, streams: make(map[string]bool)}
				client := clientv3.NewCtxClient(c.Ctx())
				client.KV, client.Lease, client.Watcher = c.KV, c.Lease, w
				l := newLocker(t, client)
				before := make([]int, 0, 3)
				for range 3 {
					h := locktest.Acquire(t, l, key)
					resp, err := c.Get(t.Context(), key.Path(locker.DefaultPrefix), clientv3.WithPrefix())
					if err != nil {
						t.Fatal(err)
					}
					if _, err := c.Put(t.Context(), string(resp.Kvs[0].Key), "by hand"); err != nil { // that is no deletion
						t.Fatal(err)
					}
					locktest.Receive(t, h.Context().Done())
					time.Sleep(5 * time.Second)
					w.mu.Lock()
					before = append(before, len(w.streams))
					w.mu.Unlock()
				}
				if replaced := before[2] > before[1]; before[0] == 0 || replaced != silent {
					t.Errorf("streams: %d", before)
				}
			})
		})
	}
}

// Both the watch of a waiter and that of a holder tell etcd
// that they are worth nothing without a leader.
func TestEveryWatchRequiresALeader(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix := locker.WithPrefix(s.Prefix(t))
	got := make(chan []string, 100)
	spied := func() *locker.Locker {
		return newLocker(t, faulty(s.Client(t), &faults{before: func(ctx context.Context, c call) error {
			if c.kind == "watch" {
				md, _ := metadata.FromOutgoingContext(ctx)
				got <- md.Get(rpctypes.MetadataRequireLeaderKey)
			}
			return nil
		}}), prefix)
	}
	locktest.Acquire(t, spied(), key)
	want := []string{rpctypes.MetadataHasLeader}
	if got := locktest.Receive(t, got); !slices.Equal(got, want) {
		t.Errorf("a holder's watch requires %v, want %v", got, want)
	}
	waiter := acquiring(t.Context(), spied(), key)
	if got := locktest.Receive(t, got); !slices.Equal(got, want) {
		t.Errorf("a waiter's watch requires %v, want %v", got, want)
	}
	wantWaiting(t, waiter)
}
