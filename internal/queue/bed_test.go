package queue

import (
	"context"
	"errors"
	"math/rand/v2"
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
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/keyspace"
)

var (
	key        = keyspace.MustParse("lock")
	errUnheard = proctest.ErrUnheard
)

// A bed is the Set of a process, with an etcd in memory, in virtual time.
type bed struct {
	*Set
	*proctest.Process
	t *testing.T

	mu    sync.Mutex
	fates []etcdsim.Fate // of the process's next writes
	reads int            // calls without a write
	write int
}

func inBed(t *testing.T, f func(t *testing.T, b *bed)) {
	t.Helper()
	b := new(bed)
	proctest.Run(t, b.plan, func(t *testing.T, p *proctest.Process) {
		b.t, b.Process = t, p
		b.Set = NewSet(Config{
			Config: place.Config{Etcd: p.Etcd, Batch: p.Batch, Feeds: p.Feeds, Base: p.Base, Spawn: p.Spawn},
			GaveUp: p.Leases.GaveUp, Prefix: "elock", Owner: "test", Log: p.Log,
		})
		f(t, b)
	})
}

// plan gives the Set's writes the fates that are set.
func (b *bed) plan(call etcdsim.Call, _ *rand.Rand) (fate etcdsim.Fate) {
	b.mu.Lock()
	defer b.mu.Unlock()
	txn, ok := call.Request.(*pb.TxnRequest)
	if !ok {
		return fate
	}
	writes := false
	for _, op := range append(txn.Success, txn.Failure...) {
		writes = writes || op.GetRequestRange() == nil
	}
	if !writes {
		b.reads++
		return fate
	}
	b.write++
	if len(b.fates) > 0 {
		fate, b.fates = b.fates[0], b.fates[1:]
	}
	return fate
}

// next sets the fates of the Set's next writes.
func (b *bed) next(fates ...etcdsim.Fate) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fates = fates
}

// entry returns an entry of key under a lease of that TTL.
func (b *bed) entry(seconds int64, mode string, reads ...string) *Entry {
	return b.under(proctest.Must(b.Leases.Use(b.t.Context(), seconds)), key, mode, reads...)
}

func (b *bed) under(l *lease.Lease, key keyspace.Key, mode string, reads ...string) *Entry {
	e := b.Entry(key, l, record.Record{Owner: "test", Mode: mode, Since: time.Now()}, reads)
	return &e
}

func (b *bed) alone() *Entry { return b.entry(100, record.Exclusive) }

// foreign puts an entry of another process.
func (b *bed) foreign(name string, r record.Record) (revision int64) {
	r.Version = record.Version
	grant := proctest.Must(b.Other.Grant(b.t.Context(), 1000))
	resp := proctest.Must(b.Other.Put(b.t.Context(), "/elock/lock/"+name, string(r.Encode()), clientv3.WithLease(grant.ID)))
	return resp.Header.Revision
}

func (b *bed) delete(name string) { proctest.Must(b.Other.Delete(b.t.Context(), name)) }

// names returns the keys of a lock's directory.
func (b *bed) kvs() []*mvccpb.KeyValue {
	return proctest.Must(b.Other.Get(b.t.Context(), "/elock/lock/", clientv3.WithPrefix())).Kvs
}

// holds wants e alone to be in etcd, and to know it.
func (b *bed) holds(e *Entry) {
	b.t.Helper()
	kvs := b.kvs()
	if len(kvs) != 1 || !e.Is(kvs[0]) || string(kvs[0].Key) != e.Name || !e.First() || !e.Sent || e.Mod != kvs[0].ModRevision {
		b.t.Fatalf("first: %v, sent: %v, %+v in etcd", e.First(), e.Sent, kvs)
	}
}

func (b *bed) empty() {
	b.t.Helper()
	if kvs := b.kvs(); len(kvs) > 0 {
		b.t.Fatalf("in etcd: %v", kvs)
	}
}

func never(*mvccpb.KeyValue, int) { panic("blocked") }

// obtain obtains e, of whose queue nobody is ahead.
func (b *bed) obtain(e *Entry, try bool) {
	b.t.Helper()
	if err := e.Obtain(b.t.Context(), try, never); err != nil {
		b.t.Fatal(err)
	}
}

// leave calls Leave.
func (b *bed) leave(e *Entry) (bool, error) {
	w := b.Etcd.Detached(b.t.Context())
	defer w.Stop()
	return e.Leave(w)
}

// An obtaining is an Obtain on its way.
type obtaining struct {
	b      *bed
	e      *Entry
	cancel context.CancelFunc
	done   chan error

	mu    sync.Mutex
	ahead []string // the owners that it was blocked by
	n     []int
}

func (b *bed) start(e *Entry, try bool) *obtaining {
	ctx, cancel := context.WithCancel(b.t.Context())
	o := &obtaining{b: b, e: e, cancel: cancel, done: make(chan error, 1)}
	go func() {
		o.done <- e.Obtain(ctx, try, func(ahead *mvccpb.KeyValue, n int) {
			o.mu.Lock()
			defer o.mu.Unlock()
			r, _ := record.Parse(ahead.Value)
			o.ahead, o.n = append(o.ahead, r.Owner), append(o.n, n)
		})
	}()
	synctest.Wait()
	return o
}

func (o *obtaining) returns(want error) {
	o.b.t.Helper()
	err := <-o.done
	o.cancel()
	if !errors.Is(err, want) || (err == nil) != (want == nil) {
		o.b.t.Fatalf("Obtain returned %v, want %v", err, want)
	}
}

func (o *obtaining) waits() {
	o.b.t.Helper()
	synctest.Wait()
	select {
	case err := <-o.done:
		o.b.t.Fatalf("Obtain returned %v", err)
	default:
	}
}
