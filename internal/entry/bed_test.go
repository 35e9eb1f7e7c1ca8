package entry

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/lease"
	"github.com/phpgao/elock/internal/place"
	"github.com/phpgao/elock/internal/proctest"
	"github.com/phpgao/elock/internal/queue"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/internal/retain"
	"github.com/phpgao/elock/keyspace"
)

var (
	key = keyspace.MustParse("lock")

	errLocked   = errors.New("locked")
	errSilent   = errors.New("silent")
	errReleased = errors.New("released")
	errClosed   = errors.New("closed")
	errLost     = errors.New("lost")
	errNoLease  = errors.New("no lease")
)

// A bed is the Set of a process, with an etcd in memory, in virtual time.
type bed struct {
	*Set
	*proctest.Process
	t    *testing.T
	stop context.CancelCauseFunc // of Drain

	mu      sync.Mutex
	silent  bool          // no transaction of the process is answered
	slow    time.Duration // how long an answer travels
	calls   int           // transactions of the process
	noLease bool          // none is granted
}

// inBed runs f with a Set that hands entries on for a second, and whose entries have three turns. change may change its Config.
func inBed(t *testing.T, change func(cfg *Config), f func(t *testing.T, b *bed)) {
	t.Helper()
	b := new(bed)
	proctest.Run(t, b.plan, func(t *testing.T, p *proctest.Process) {
		b.t, b.Process = t, p
		queues := queue.NewSet(queue.Config{
			Config: place.Config{Etcd: p.Etcd, Batch: p.Batch, Feeds: p.Feeds, Puts: true, Base: p.Base, Spawn: p.Spawn},
			GaveUp: p.Leases.GaveUp, Prefix: "elock", Owner: "test", Log: p.Log,
		})
		cfg := Config{
			Etcd: p.Etcd, Queues: queues, Spawn: p.Spawn, Use: b.use,
			Handoff: time.Second, Turns: 2,
			Locked: errLocked, Silent: errSilent, Released: errReleased, Lost: func(lease.Loss) error { return errLost },
			Owner: "test", Log: p.Log,
		}
		cfg.Drain, b.stop = context.WithCancelCause(p.Base)
		defer b.stop(nil)
		cfg.Retained = retain.New(retain.Config{Batch: p.Batch, For: time.Hour, Trust: time.Second, Drain: cfg.Drain})
		if change != nil {
			change(&cfg)
		}
		b.Set = NewSet(cfg)
		defer time.AfterFunc(100*time.Hour, func() { panic("the test hangs") }).Stop()
		f(t, b)
	})
}

func retaining(cfg *Config) { cfg.Retains = true }

func (b *bed) use(ctx context.Context, seconds int64) (*lease.Lease, error) {
	if b.noLease {
		return nil, errNoLease
	}
	return b.Leases.Use(ctx, seconds)
}

func (b *bed) plan(call etcdsim.Call, _ *rand.Rand) (fate etcdsim.Fate) {
	if _, ok := call.Request.(*pb.TxnRequest); !ok {
		return fate
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	fate.Reply = b.slow
	if b.silent {
		fate.Lose, fate.Hang = etcdsim.Request, true
	}
	return fate
}

// silence has no transaction of the process be answered, or ends that.
func (b *bed) silence(is bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.silent = is
}

// slowly has each answer take d.
func (b *bed) slowly(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.slow = d
}

// costs wants f to cost so many transactions of the process.
func (b *bed) costs(want int, f func()) {
	b.t.Helper()
	b.mu.Lock()
	before := b.calls
	b.mu.Unlock()
	f()
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := b.calls - before; n != want {
		b.t.Errorf("%d calls, want %d", n, want)
	}
}

var (
	alone  = Want{Seconds: 100}
	shared = Want{Seconds: 100, Claim: record.Claim{Shared: true}}
)

func slots(n, weight int) Want {
	return Want{Seconds: 100, Claim: record.Claim{Slots: n, Weight: weight}}
}

func caller(name string, want Want) Caller { return Caller{Name: name, Since: time.Now(), Want: want} }

// get acquires the lock for a caller that need not wait.
func (b *bed) get(name string, want Want) Grant {
	b.t.Helper()
	g, err := b.Acquire(b.t.Context(), key, caller(name, want), false, func(a Ahead) { b.t.Errorf("%s is blocked by %+v", name, a) })
	if err != nil {
		b.t.Fatal(err)
	}
	return g
}

// An acquire is one on its way.
type acquire struct {
	b      *bed
	cancel context.CancelFunc
	done   chan struct{}
	grant  Grant
	err    error
	exited bool // its goroutine has ended in blocked

	mu    sync.Mutex
	ahead []Ahead
}

// start begins an acquire, and waits until nothing moves.
func (b *bed) start(name string, want Want) *acquire {
	return b.startWith(name, want, false, func() {})
}

// startWith is start; blocked is called when it is blocked.
func (b *bed) startWith(name string, want Want, try bool, blocked func()) *acquire {
	ctx, cancel := context.WithCancel(b.t.Context())
	a := &acquire{b: b, cancel: cancel, done: make(chan struct{}), exited: true}
	go func() {
		defer close(a.done)
		a.grant, a.err = b.Acquire(ctx, key, caller(name, want), try, func(ahead Ahead) {
			a.mu.Lock()
			a.ahead = append(a.ahead, ahead)
			a.mu.Unlock()
			blocked()
		})
		a.exited = false
	}()
	synctest.Wait()
	return a
}

func (a *acquire) waits() {
	a.b.t.Helper()
	synctest.Wait()
	select {
	case <-a.done:
		a.b.t.Fatalf("the acquire returned %+v, %v", a.grant, a.err)
	default:
	}
}

// returns waits for the end.
func (a *acquire) returns() {
	a.b.t.Helper()
	select {
	case <-a.done:
	case <-time.After(time.Hour):
		a.b.t.Fatal("the acquire does not return")
	}
}

// gets wants the lock.
func (a *acquire) gets() Grant {
	a.b.t.Helper()
	if a.returns(); a.err != nil || a.exited {
		a.b.t.Fatalf("the acquire failed: %v", a.err)
	}
	return a.grant
}

// fails wants an error that matches all of these.
func (a *acquire) fails(want ...error) {
	a.b.t.Helper()
	a.returns()
	for _, w := range want {
		if !errors.Is(a.err, w) {
			a.b.t.Errorf("the acquire returned %v, want %v", a.err, w)
		}
	}
	if a.grant != (Grant{}) {
		a.b.t.Errorf("it failed, and has %+v", a.grant)
	}
}

// behind returns who was ahead, and wants it to be just one.
func (a *acquire) behind() Ahead {
	a.b.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.ahead) != 1 {
		a.b.t.Fatalf("blocked by %+v", a.ahead)
	}
	return a.ahead[0]
}

// release releases as the owner of a hold does, and returns how.
func (b *bed) release(e *Entry) string {
	b.t.Helper()
	w := b.Etcd.Detached(b.t.Context())
	defer w.Stop()
	told := 0
	notify := func() { told++ }
	how := func() string {
		if !e.Sole() {
			return "parted"
		}
		if e.Pass(notify) {
			return "passed"
		}
		if e.Retain(w, notify) {
			return "retained"
		}
		requeued, err := e.Requeue(w, notify)
		if requeued {
			return "requeued"
		}
		if err == nil {
			_, err = e.Leave(w)
		}
		if err != nil {
			e.Settle(err, func() {})
			return "settling"
		}
		e.Done()
		return "left"
	}()
	if told != 0 != (how == "passed" || how == "retained" || how == "requeued") {
		b.t.Errorf("%s, told %d times", how, told)
	}
	return how
}

// releases wants a release to go like that.
func (b *bed) releases(e *Entry, how string) {
	b.t.Helper()
	if got := b.release(e); got != how {
		b.t.Fatalf("%s, want it %s", got, how)
	}
}

// kvs are the entries in etcd, in the order in which they came.
func (b *bed) kvs() []*mvccpb.KeyValue {
	b.t.Helper()
	return proctest.Must(b.Other.Get(b.t.Context(), "/elock/lock/", clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))).Kvs
}

// queued wants the entries in etcd to be of these owners.
func (b *bed) queued(owners ...string) {
	b.t.Helper()
	var all []string
	for _, kv := range b.kvs() {
		r, _ := record.Parse(kv.Value)
		all = append(all, r.Owner)
	}
	if got, want := strings.Join(all, " "), strings.Join(owners, " "); got != want {
		b.t.Fatalf("in etcd: %q, want %q", got, want)
	}
}

// free wants nobody to be in the queue, and nobody to deal with the lock here.
func (b *bed) free() {
	b.t.Helper()
	synctest.Wait()
	b.queued()
	if !b.Lanes.Vacant(key) {
		b.t.Fatal("the lane is not vacant")
	}
}

// foreign puts an entry of another process, and returns what removes it.
func (b *bed) foreign(name string) (remove func()) {
	b.t.Helper()
	grant := proctest.Must(b.Other.Grant(b.t.Context(), 1000))
	r := record.Record{Version: record.Version, Owner: name, Mode: record.Exclusive, Nonce: 1}
	proctest.Must(b.Other.Put(b.t.Context(), "/elock/lock/"+name, string(r.Encode()), clientv3.WithLease(grant.ID)))
	synctest.Wait()
	return func() {
		proctest.Must(b.Other.Delete(b.t.Context(), "/elock/lock/"+name))
		synctest.Wait()
	}
}
