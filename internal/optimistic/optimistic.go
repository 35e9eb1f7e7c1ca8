package optimistic

import (
	"bytes"
	"context"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/internal/xctx"
	"github.com/phpgao/elock/keyspace"
)

// A Config is what a Table works with. O is an option of an acquire. All fields must be set.
type Config[O any] struct {
	Etcd   *calls.Client
	Batch  *batch.Batcher
	Limits *xctx.Limiter   // bounds how long a commit waits for its answer; of Batch, too
	Ended  context.Context // ends with the process
	Prefix string          // of all keys
	// Admits reports whether an acquire with these options would be admitted, and takes nothing but the lock: an attempt may
	// take its place.
	Admits func(ctx context.Context, key keyspace.Key, opts []O) bool
	Seize  func(keyspace.Key) bool // takes the lane of key if it is vacant
	Leave  func(keyspace.Key)      // gives it to the next
}

// A Table makes the attempts of a process. It is safe for concurrent use.
type Table[O any] struct {
	cfg   Config[O]
	known memory
}

// New returns a Table that remembers nothing.
func New[O any](cfg Config[O]) *Table[O] { return &Table[O]{cfg: cfg} }

type tableKey struct{}

// With returns ctx with t in it: so a package above the one that makes a Table finds it.
func With[O any](ctx context.Context, t *Table[O]) context.Context {
	return context.WithValue(ctx, tableKey{}, t)
}

// Of returns the Table that With has put into ctx, or nil.
func Of[O any](ctx context.Context) *Table[O] {
	t, _ := ctx.Value(tableKey{}).(*Table[O])
	return t
}

// An Attempt is one change of a value without its lock. It is one goroutine's.
type Attempt[O any] struct {
	t       *Table[O]
	key     keyspace.Key
	name    string // the value's
	before  memo
	from    *mvccpb.KeyValue // what the function gets; nil until loaded
	loaded  bool             // from is known
	read    bool             // from was read
	refuted bool             // what was known was old
	running *running
}

// running is the value in contexts under an attempt.
type running struct {
	table, outer any // outer is another attempt that this one is under
	key          keyspace.Key
	over         atomic.Bool
}

type runningKey struct{}

// Begin returns an attempt to change the value of key, or nil if the lock must be taken: somebody here deals with key or retains
// its lock, or an acquire with opts would fail or wants more. The caller must call End.
func (t *Table[O]) Begin(ctx context.Context, key keyspace.Key, opts []O) *Attempt[O] {
	if t == nil || !t.cfg.Admits(ctx, key, opts) || !t.cfg.Seize(key) {
		return nil
	}
	a := &Attempt[O]{t: t, key: key, name: key.ValuePath(t.cfg.Prefix), before: t.known.recall(key)}
	if kv := a.before.kv; kv != nil && a.before.sole {
		a.from, a.loaded = &mvccpb.KeyValue{
			Key: bytes.Clone(kv.Key), Value: bytes.Clone(kv.Value), CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision, Version: kv.Version,
		}, true
	}
	return a
}

// End opens the lane.
func (a *Attempt[O]) End() {
	if a.running != nil {
		a.running.over.Store(true)
	}
	a.t.cfg.Leave(a.key)
}

// Context returns ctx for a function that runs under a: it ends with ctx and with the process, and with cancel.
func (a *Attempt[O]) Context(ctx context.Context) (under context.Context, cancel context.CancelFunc) {
	a.running = &running{table: a.t, outer: ctx.Value(runningKey{}), key: a.key}
	return xctx.Merge(context.WithValue(ctx, runningKey{}, a.running), a.t.cfg.Ended)
}

// Under reports whether ctx is under an attempt of t for key that has not ended.
func (t *Table[O]) Under(ctx context.Context, key keyspace.Key) bool {
	for r, _ := ctx.Value(runningKey{}).(*running); r != nil; r, _ = r.outer.(*running) {
		if r.table == any(t) && r.key == key && !r.over.Load() {
			return true
		}
	}
	return false
}

// From returns the value as the attempt knows it, and whether that was read: what was not may be old.
func (a *Attempt[O]) From() (from *mvccpb.KeyValue, read bool) { return a.from, a.read }

// Load finds out what the value is, unless it is known. It reports false if nothing is stored, if others are in the queue, or if etcd
// does not answer: then the lock must be taken. A value that is not there has no revision of its own: a commit that comes late would
// be carried out after the next deletion, too.
func (a *Attempt[O]) Load(ctx context.Context) bool { return a.from != nil || a.Read(ctx) }

// Read is Load of what is stored now.
func (a *Attempt[O]) Read(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, xctx.Patience(0))
	defer cancel()
	r, err := a.t.cfg.Batch.Commit(ctx, batch.Txn{
		Key: a.key, If: []clientv3.Cmp{a.vacant()}, Then: []clientv3.Op{clientv3.OpGet(a.name)}, ExpectSuccess: true,
	})
	if err != nil || !r.Succeeded {
		return false
	}
	return a.found(r.KVs(0))
}

// found notes what is stored, and reports whether anything is.
func (a *Attempt[O]) found(kvs []*mvccpb.KeyValue) bool {
	old := a.from
	a.from = nil
	if len(kvs) > 0 {
		a.from = kvs[0]
	}
	a.refuted = a.refuted || a.loaded && a.from.GetModRevision() != old.GetModRevision()
	a.loaded, a.read = true, true
	return a.from != nil
}

// vacant holds while nobody is in the queue.
func (a *Attempt[O]) vacant() clientv3.Cmp { return record.Vacant(a.key.Path(a.t.cfg.Prefix)) }

// An Outcome is what became of a commit.
type Outcome int

const (
	// Done: it was carried out.
	Done Outcome = iota
	// Changed: it was not, and never will be, as the value was another. From gives that.
	Changed
	// Taken: it was not, and never will be, as others are in the queue, nothing is stored any more, or etcd has refused it.
	Taken
	// InDoubt: it was carried out, or not, or may yet be.
	InDoubt
)

// Commit carries out op, a put or a deletion of the value, if the queue is empty and the value is what From says. It sends the
// transaction again while etcd does not answer: until a quarter of a second after the end of ctx, and for 5 seconds at most.
func (a *Attempt[O]) Commit(ctx context.Context, op clientv3.Op) Outcome {
	t, rev := a.t, a.from.ModRevision
	write := t.cfg.Etcd.Entering(ctx, t.cfg.Limits)
	write.Total = calls.Patience
	defer write.Stop()
	txn := batch.Txn{
		Key:           a.key,
		If:            []clientv3.Cmp{a.vacant(), clientv3.Compare(clientv3.ModRevision(a.name), "=", rev)},
		Then:          []clientv3.Op{op},
		Else:          []clientv3.Op{clientv3.OpGet(a.name)},
		ExpectSuccess: true,
	}
	var r batch.Result
	doubt := false
	err := calls.Retry(write, func(ctx context.Context) (err error) {
		r, err = t.cfg.Batch.Commit(ctx, txn)
		doubt = doubt || r.InDoubt || err != nil && !batch.NotApplied(err)
		return err
	})
	if err == nil && r.Succeeded {
		a.done(op, r.Revision)
		return Done
	}
	t.known.note(a.key, memo{a.before.kv, false})
	switch {
	case doubt:
		return InDoubt
	case err != nil:
		return Taken
	}
	if !a.found(r.KVs(0)) || a.from.ModRevision == rev {
		return Taken
	}
	return Changed
}

// done remembers what op has made of the value at rev.
func (a *Attempt[O]) done(op clientv3.Op, rev int64) {
	if op.IsDelete() {
		a.t.known.note(a.key, memo{})
		return
	}
	kv := &mvccpb.KeyValue{
		Key: []byte(a.name), Value: op.ValueBytes(), CreateRevision: a.from.CreateRevision, ModRevision: rev, Version: a.from.Version + 1,
	}
	was := a.before.kv
	a.t.known.note(a.key, memo{kv, !a.refuted && (was == nil || was.ModRevision == a.from.GetModRevision())})
}
