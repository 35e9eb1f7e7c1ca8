package lockertest

import (
	"context"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"testing"
	"weak"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/locker"
)

// New returns a Locker with an etcd of its own, in memory. It is closed when
// the test ends, before the cleanups that were registered earlier. In a
// testing/synctest bubble it must be made inside the bubble.
//
// Its owner is "a", and what it logs goes to the test's output, unless opts say
// otherwise. A bad option fails the test.
func New(tb testing.TB, opts ...locker.Option) *locker.Locker {
	tb.Helper()
	return start(tb, newStore(tb), "a", opts)
}

// NewPair returns the Lockers of two processes with one etcd: what one holds
// the other cannot get. Their owners are "a" and "b". Otherwise it is as New.
func NewPair(tb testing.TB, opts ...locker.Option) (a, b *locker.Locker) {
	tb.Helper()
	s := newStore(tb)
	return start(tb, s, "a", opts), start(tb, s, "b", opts)
}

// Client returns the etcd client of l, for code under test that uses etcd
// itself: in a transaction under locker.Hold.Fence, say. It is as slow and as
// unreachable as l. Of its parts it has KV, Lease and Watcher.
//
// It also makes more processes of a test, which then share its network. Close
// them before the test ends; only the Lockers of New and NewPair do so themselves:
//
//	c, err := locker.New(lockertest.Client(l))
//	defer c.Close()
func Client(l *locker.Locker) *clientv3.Client { return of(l).client.Client }

// A store is the etcd of a test.
type store struct {
	*etcdsim.Sim
	direct *etcdsim.Client // without faults
}

func newStore(tb testing.TB) store {
	sim := etcdsim.New(1)
	tb.Cleanup(sim.Close)
	return store{sim, sim.NewClient("test")}
}

// A process is what is behind one Locker.
type process struct {
	tb     testing.TB
	store  store
	client *etcdsim.Client
	faults sync.WaitGroup // what begin has begun

	mu     sync.Mutex
	ended  bool
	leases []clientv3.LeaseID // of the Locker, ended ones too
}

// processes has the *process of each Locker, by a weak.Pointer to it.
var processes sync.Map

// of returns what is behind l.
func of(l *locker.Locker) *process {
	p, ok := processes.Load(weak.Make(l))
	if !ok {
		panic("lockertest: not a Locker of this package")
	}
	return p.(*process)
}

func start(tb testing.TB, s store, name string, opts []locker.Option) *locker.Locker {
	tb.Helper()
	p := &process{tb: tb, store: s, client: s.NewClient(name)}
	own := clientv3.NewCtxClient(p.client.Ctx())
	own.KV, own.Lease, own.Watcher = p.client.KV, lease{p.client.Lease, p}, p.client.Watcher
	out := &output{w: tb.Output()}
	defaults := []locker.Option{locker.WithOwner(name), locker.WithLogger(slog.New(slog.NewTextHandler(out, nil)))}
	l, err := locker.New(own, slices.Concat(defaults, opts)...)
	if err != nil {
		tb.Fatal(err)
	}
	processes.Store(weak.Make(l), p)
	runtime.AddCleanup(l, func(l weak.Pointer[locker.Locker]) { processes.Delete(l) }, weak.Make(l))
	tb.Cleanup(func() {
		p.end()
		if err := l.Close(); err != nil {
			tb.Errorf("lockertest: %v", err)
		}
		out.end()
	})
	return l
}

// begin reports whether the test goes on. If it does it waits, before it ends,
// until the caller calls p.faults.Done.
func (p *process) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.faults.Add(1)
	}
	return !p.ended
}

// end has no more faults begin, and mends those there are.
func (p *process) end() {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.faults.Wait()
	p.client.SetPlan(nil)
	p.client.Heal()
}

// lease notes which leases are the process's.
type lease struct {
	clientv3.Lease
	p *process
}

func (l lease) Grant(ctx context.Context, ttl int64) (*clientv3.LeaseGrantResponse, error) {
	resp, err := l.Lease.Grant(ctx, ttl)
	if err == nil {
		l.p.mu.Lock()
		l.p.leases = append(l.p.leases, resp.ID)
		l.p.mu.Unlock()
	}
	return resp, err
}

func (p *process) granted() []clientv3.LeaseID {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.leases)
}

// output is the test's output until the test ends. A goroutine that outlives
// the test must not write to it.
type output struct {
	mu sync.Mutex
	w  io.Writer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(p)
}

func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.w = io.Discard
}
