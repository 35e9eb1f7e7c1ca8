package batch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/clock"
	"github.com/phpgao/elock/internal/xctx"
	"github.com/phpgao/elock/keyspace"
)

const (
	// MaxOps is how many operations go together.
	MaxOps = 120
	// maxNested is how many a transaction that goes with others may have. Nested, it has what the outer one leaves of etcd's
	// default of 128.
	maxNested = 128 - MaxOps
	// maxBatches is how many are on their way at once.
	maxBatches = 2
	// maxBytes is how much a batch writes. etcd and its client reject large requests.
	maxBytes = 512 << 10
	// maxWait is how long the queue waits for the end of a batch: a call that hangs holds nobody up for longer.
	maxWait = 25 * time.Millisecond
	// patience is how long what is patient waits while nothing is on its way.
	patience = 500 * time.Microsecond
	// backoff is how long BackingOff is true after a batch that was expected to succeed did not.
	backoff = 100 * time.Millisecond
	// isolation is how long a key's transactions go alone after etcd has rejected one because of its contents: such a
	// transaction has its whole batch rejected, and the others must go again.
	isolation = time.Second
	// maxIsolated is how many keys are remembered for that.
	maxIsolated = 1000
)

// A Config is what a Batcher works with.
type Config struct {
	// Txn sends one transaction. twice says that it was sent twice: then the other one may have been carried out, too.
	Txn func(ctx context.Context, cmps []clientv3.Cmp, then, els []clientv3.Op) (resp *clientv3.TxnResponse, twice bool, err error)
	// Limits bounds how long a batch waits for its answer.
	Limits *xctx.Limiter
	// Silent is called when a batch was not answered in time.
	Silent func()
	// Spawn runs f on a goroutine. If it returns false it has not, and f runs on the caller's.
	Spawn func(f func()) bool
	// Alone sends each transaction alone, for comparison.
	Alone bool
}

// A Batcher sends transactions together. It is safe for concurrent use.
type Batcher struct {
	cfg Config

	mu         sync.Mutex // guards what follows, up to isolated
	queue      []*request // in the order in which they came
	left       int        // how many of them nobody waits for any more
	eager      int        // how many of the others are not patient
	onTheWay   int        // batches of this generation
	generation int
	limit      int         // how many operations etcd takes at once, as far as known
	since      time.Time   // when the queue's wait began
	timer      *time.Timer // ends it
	armed      bool        // timer runs
	late       *time.Timer // ends the wait of those in the queue that are patient
	waits      bool        // late runs

	taken map[keyspace.Key]bool // the keys of the batch that fill makes; empty otherwise

	isolated map[keyspace.Key]int64 // when etcd rejected a transaction because of its contents

	rejected atomic.Int64 // when it did so last; times are clock.Mono, and 0 is never
	lastMiss atomic.Int64 // when a batch that was expected to succeed did not

	spare sync.Pool // of requests
}

// A request is a transaction that goes with others.
type request struct {
	Txn
	batch *batch // nil while it is in the queue, and when nobody waits for it any more
	gone  bool   // nobody waits for it any more, and it is in the queue; guarded by mu of the Batcher

	answered chan struct{} // gets a value when Result and err are set
	Result
	err error
}

// New returns a Batcher.
func New(cfg Config) *Batcher {
	return &Batcher{cfg: cfg, limit: MaxOps, taken: make(map[keyspace.Key]bool)}
}

// Commit sends t, alone or with others, and returns etcd's answer. If ctx ends first it returns the context's error. After an
// error for which NotApplied is false, t may have been carried out, or may yet be.
func (b *Batcher) Commit(ctx context.Context, t Txn) (Result, error) {
	if b.cfg.Alone || b.isolates(t.Key) {
		return b.Send(ctx, t)
	}
	if !t.Patient {
		if generation, ok := b.tryStart(nil); ok {
			defer b.finish(generation)
			return b.Send(ctx, t)
		}
	}
	r := b.request(t)
	if max(len(r.If), len(r.Then), len(r.Else)) > maxNested {
		return b.Send(ctx, t)
	}
	if generation, ok := b.tryStart(r); ok {
		defer b.finish(generation)
		return b.Send(ctx, t)
	}
	ended, other := xctx.DoneChans(ctx)
	for {
		select {
		case <-r.answered:
			result, err := r.Result, r.err
			*r = request{answered: r.answered}
			b.spare.Put(r)
			return result, err
		case <-ended:
		case <-other:
		}
		if ctx.Err() != nil {
			return Result{}, b.leave(ctx, r)
		}
		ended, other = ctx.Done(), nil
	}
}

// Send sends t alone.
func (b *Batcher) Send(ctx context.Context, t Txn) (Result, error) {
	t = t.formed(false)
	resp, twice, err := b.cfg.Txn(ctx, t.If, t.Then, t.Else)
	if err != nil {
		return Result{}, err
	}
	return Result{Succeeded: resp.Succeeded, InDoubt: twice, Revision: resp.Header.Revision, Responses: resp.Responses}, nil
}

// request returns one for t, perhaps from the pool. Only answered requests are pooled; a cancelled one may still be in a batch.
func (b *Batcher) request(t Txn) *request {
	r, ok := b.spare.Get().(*request)
	if !ok {
		r = &request{answered: make(chan struct{}, 1)}
	}
	r.Txn = t.formed(true)
	return r
}

// tryStart reports whether one more may be sent now, alone. If so it counts it as on its way, and returns its generation. If not, r comes
// into the queue, unless it is nil: perhaps it goes from there at once, with those that were patient.
func (b *Batcher) tryStart(r *request) (generation int, ok bool) {
	var next *batch
	defer func() { b.start(next) }()
	b.mu.Lock()
	defer b.mu.Unlock()
	free, patient := b.onTheWay < maxBatches, r != nil && r.Patient
	if free && len(b.queue) == 0 && !patient {
		b.onTheWay++
		return b.generation, true
	}
	if r == nil {
		return 0, false
	}
	if b.queue = append(b.queue, r); len(b.queue)-b.left == 1 {
		b.armTimer()
	}
	if !patient {
		b.eager++
	}
	switch {
	case !patient && free:
		b.onTheWay++
		next = b.fill()
	case patient && b.onTheWay == 0:
		b.wait()
	}
	return 0, false
}

// wait bounds how long those in the queue wait, all of which are patient, while nothing is on its way. The caller holds mu.
func (b *Batcher) wait() {
	switch {
	case b.late == nil:
		b.late = time.AfterFunc(patience, b.waited)
	case !b.waits:
		b.late.Reset(patience)
	}
	b.waits = true
}

// waited sends those that have been patient, unless something is on its way: they go after that.
func (b *Batcher) waited() {
	var next *batch
	b.mu.Lock()
	b.waits = false
	if b.onTheWay == 0 {
		if next = b.fill(); next != nil {
			b.onTheWay++
		}
	}
	b.mu.Unlock()
	b.start(next)
}

// finish counts one less on its way, and starts the next batch with those that have come meanwhile.
func (b *Batcher) finish(generation int) {
	var next *batch
	b.mu.Lock()
	if generation == b.generation {
		if b.eager > 0 {
			next = b.fill()
		} else if b.onTheWay--; b.onTheWay == 0 && len(b.queue) > b.left {
			b.wait()
		}
	}
	b.mu.Unlock()
	b.start(next)
}

// armTimer bounds how long the queue waits from now on. The caller holds mu.
func (b *Batcher) armTimer() {
	b.since = time.Now()
	switch {
	case b.timer == nil:
		b.timer = time.AfterFunc(maxWait, b.flushOverdue)
	case !b.armed: // one that runs is left alone: to set it anew for each batch costs more
		b.timer.Reset(maxWait)
	}
	b.armed = true
}

// flushOverdue lets the queue wait no longer for those on their way, if it has waited long enough.
func (b *Batcher) flushOverdue() {
	var next *batch
	b.mu.Lock()
	left := maxWait - time.Since(b.since)
	switch {
	case len(b.queue) == b.left:
		b.armed = false
	case left > 0:
		b.timer.Reset(left)
	default:
		b.armed = false
		b.generation++
		b.onTheWay = 1
		next = b.fill()
	}
	b.mu.Unlock()
	b.start(next)
}

// leave gives r up.
func (b *Batcher) leave(ctx context.Context, r *request) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.batch == nil {
		r.gone = true
		if !r.Patient {
			b.eager--
		}
		if b.left++; 2*b.left > len(b.queue) { // each that leaves costs the same, however many there are
			b.queue, b.left = slices.DeleteFunc(b.queue, func(q *request) bool { return q.gone }), 0
		}
		return fmt.Errorf("%w: %w", errUnsent, ctx.Err())
	}
	r.batch.leave()
	r.batch = nil
	return ctx.Err()
}

// BackingOff reports whether a batch that was expected to succeed has just failed: optimistic forms are not worth it then.
func (b *Batcher) BackingOff() bool { return recent(b.lastMiss.Load(), backoff) }

func recent(at int64, d time.Duration) bool { return at != 0 && clock.Mono()-at < int64(d) }

// isolate lets the transactions of key go alone for a while.
func (b *Batcher) isolate(key keyspace.Key) {
	now := clock.Mono()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.isolated == nil || len(b.isolated) > maxIsolated {
		b.isolated = make(map[keyspace.Key]int64)
	}
	b.isolated[key] = now
	b.rejected.Store(now)
}

// isolates reports whether a transaction about key is to go alone.
func (b *Batcher) isolates(key keyspace.Key) bool {
	if !recent(b.rejected.Load(), isolation) {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return recent(b.isolated[key], isolation)
}

// Learn notes it if etcd rejected so many operations for their number.
func (b *Batcher) Learn(err error, ops int) {
	if errors.Is(err, rpctypes.ErrTooManyOps) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.limit = max(1, min(b.limit, ops/2))
	}
}

// Fits reports whether etcd takes so many operations at once, as far as known.
func (b *Batcher) Fits(ops int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return ops <= b.limit
}
