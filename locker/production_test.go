package locker_test

import (
	"context"
	"errors"
	"flag"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// scale multiplies what the tests of large numbers do: 10 is what the docs name.
var scale = flag.Int("scale", 1, "10 for 50,000 waiters and 100,000 refusals")

// slower is by how much a bound of time is stretched: the race detector makes thousands of goroutines slow.
var slower time.Duration = 1

func TestTheCallersMetadataNeverGoesToEtcd(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	var calls, leaks atomic.Int64
	look := func(ctx context.Context) {
		calls.Add(1)
		if md, _ := metadata.FromOutgoingContext(ctx); len(md.Get("authorization")) > 0 {
			leaks.Add(1)
		}
	}
	client := s.Client(t, func(c *clientv3.Config) {
		c.DialOptions = append(c.DialOptions,
			grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
				look(ctx)
				return invoke(ctx, method, req, reply, cc, opts...)
			}),
			grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, stream grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
				look(ctx)
				return stream(ctx, desc, cc, method, opts...)
			}))
	})
	prefix := locker.WithPrefix(s.Prefix(t))
	l, other := newLocker(t, client, prefix), newLocker(t, s.Client(t), prefix)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "mine")
	held := locktest.Acquire(t, other, key)
	got := locktest.Async(t, func() error {
		h, err := l.Acquire(ctx, key)
		return errors.Join(err, h.Release(ctx))
	})
	locktest.UntilQueued(t, other, key, 2)
	if _, err := l.TryAcquire(ctx, key); !errors.Is(err, locker.ErrLocked) {
		t.Fatal(err)
	}
	if _, err := l.Evict(ctx, key); err != nil {
		t.Fatal(err)
	}
	locktest.Receive(t, held.Context().Done())
	locktest.WantErr(t, got(), nil)
	h, err := l.AcquireAll(ctx, []keyspace.Key{key, neighbour})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Commit(ctx, nil, clientv3.OpPut(key.ValuePath(l.Prefix()), "v")); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Inspect(ctx, key); err != nil {
		t.Fatal(err)
	}
	if calls.Load() == 0 || leaks.Load() > 0 {
		t.Errorf("%d of %d calls carry the caller's metadata", leaks.Load(), calls.Load())
	}
}

func TestTTLsOfTheirOwnNeedAFewLeasesWhichGoSoon(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	l := newLocker(t, s.Client(t), locker.WithPrefix(s.Prefix(t)))
	locktest.Release(t, locktest.Acquire(t, l, key))
	before := runtime.NumGoroutine()
	most := 0
	for i := range 1000 {
		locktest.Release(t, locktest.Acquire(t, l, key, locker.TTL(time.Duration(10+i%500)*time.Second)))
		most = max(most, locker.Leases(l))
	}
	t.Logf("500 TTLs: %d leases at most, %d goroutines more", most, runtime.NumGoroutine()-before)
	if most > 60 {
		t.Errorf("%d leases for 500 TTLs", most)
	}
	locktest.Until(t, "idle leases are revoked", func() bool { return locker.Leases(l) <= 1 })
}

func TestRefusedGrantsLeaveNothing(t *testing.T) {
	s := etcdtest.Start(t)
	f := &faults{before: func(_ context.Context, c call) error {
		if c.kind == "grant" {
			return rpctypes.ErrPermissionDenied
		}
		return nil
	}}
	l := newLocker(t, faulty(s.Client(t), f), locker.WithPrefix(s.Prefix(t)))
	refuse := func(n int) (heap uint64) {
		for range n {
			if _, err := l.Acquire(t.Context(), key); !errors.Is(err, rpctypes.ErrPermissionDenied) {
				t.Fatal(err)
			}
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	n := 10_000 * *scale
	before := refuse(n)
	var grown int64
	locktest.Until(t, "a further round takes no more memory", func() bool { // the first ones do: for the runtime's timers
		now := refuse(n)
		grown, before = (int64(now)-int64(before))/int64(n), now
		return grown < 20
	})
	t.Logf("%d bytes stay for each of %d refusals; %d leases", grown, n, locker.Leases(l))
	if n := locker.Leases(l); n > 0 {
		t.Errorf("%d leases", n)
	}
}

func TestVeryManyWaitersThatGiveUpTogetherReturnInTime(t *testing.T) {
	waiters := 5_000 * *scale
	for _, keys := range []int{1, 1000} {
		s := etcdtest.Start(t)
		prefix := locker.WithPrefix(s.Prefix(t))
		holder, l := newLocker(t, s.Client(t), prefix), newLocker(t, s.Client(t), prefix)
		space := keyspace.MustNew[int]("n")
		for i := range keys {
			locktest.Acquire(t, holder, space.Key(i))
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var waiting sync.WaitGroup
		var late atomic.Int64
		var gaveUp atomic.Pointer[time.Time]
		for i := range waiters {
			waiting.Go(func() {
				_, err := l.Acquire(ctx, space.Key(i%keys))
				if !errors.Is(err, context.Canceled) {
					t.Errorf("got error %v", err)
				}
				if d := time.Since(*gaveUp.Load()); int64(d) > late.Load() {
					late.Store(int64(d))
				}
			})
		}
		locktest.Until(t, "all of them wait", func() bool {
			n := 0
			for i := range keys {
				n += locker.Waiting(l, space.Key(i))
			}
			return n == waiters-keys
		})
		now := time.Now()
		gaveUp.Store(&now)
		cancel()
		waiting.Wait()
		t.Logf("%d waiters for %d keys: the last returned after %v", waiters, keys, time.Duration(late.Load()))
		if d := time.Duration(late.Load()); d > slower*time.Second {
			t.Errorf("the last returned after %v", d)
		}
		locktest.Until(t, "nothing is left in the queues", func() bool {
			q, err := holder.Inspect(context.Background(), space.Key(keys-1))
			return err == nil && len(q.Waiters) == 0
		})
	}
}

// received counts the messages that a client gets over streams.
type received struct{ n atomic.Int64 }

func (r *received) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (r *received) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (r *received) HandleConn(context.Context, stats.ConnStats)                       {}
func (r *received) HandleRPC(_ context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.InPayload); ok {
		r.n.Add(1)
	}
}

func TestAProcessThatHoldsManyLocksHearsOfNoOthers(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix := locker.WithPrefix(s.Prefix(t))
	var got received
	l := newLocker(t, s.Client(t, func(c *clientv3.Config) {
		c.DialOptions = append(c.DialOptions, grpc.WithStatsHandler(&got))
	}), prefix)
	other := newLocker(t, s.Client(t), prefix)
	space := keyspace.MustNew[int]("n")
	var held []*locker.Hold
	for i := range 20 {
		held = append(held, locktest.Acquire(t, l, space.Key(i)))
	}
	locktest.Until(t, "all holds are watched", func() bool { return locker.Watched(l) == len(held) })
	before := got.n.Load()
	for range 300 {
		locktest.Release(t, locktest.Acquire(t, other, neighbour))
	}
	if n := got.n.Load() - before; n > 50 { // renewals, and signs of life
		t.Errorf("%d messages while another process took and released 300 locks", n)
	}
	if _, err := other.Evict(t.Context(), space.Key(7)); err != nil {
		t.Fatal(err)
	}
	locktest.Receive(t, held[7].Context().Done())
	locktest.WantLost(t, held[7].Err(), locker.ReasonEvicted)
	if i := slices.IndexFunc(held, func(h *locker.Hold) bool { return h.Err() != nil }); i != 7 {
		t.Errorf("hold %d has ended", i)
	}
}
