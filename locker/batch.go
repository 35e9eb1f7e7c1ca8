package locker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/phpgao/elock/keyspace"
)

// A batcher sends transactions about different locks together: those that come
// while one is on its way wait for its end, and then go as one transaction of
// etcd, which costs about as much as one of theirs. When nothing is on its way,
// nothing waits.
type batcher struct {
	l   *Locker
	off bool

	mu      sync.Mutex
	flights int          // on their way, of this era
	era     int          // those of an earlier one took too long, and count no more
	queue   []*passenger // in the order in which they came
	limit   int          // how many operations etcd takes at once
	since   time.Time    // when the queue's wait began
	timer   *time.Timer  // ends it
	timed   bool         // timer runs

	spare sync.Pool // of passengers

	shunned map[keyspace.Key]int64 // when etcd refused a transaction for its own sake, by the monotonic clock
	refusal atomic.Int64           // when it did so last; 0: never

	unlikely atomic.Int64 // when a batch failed that was likely to hold, by the monotonic clock; 0: never
}

const (
	// maxBatch is how many operations go together.
	maxBatch = 120
	// maxNested is how many a transaction that goes with others may have. Nested,
	// it has what the outer one leaves of etcd's default of 128.
	maxNested = 128 - maxBatch
	// maxFlights is how many batches are on their way at once.
	maxFlights = 2
	// maxBytes is how much a batch writes. etcd and its client refuse large
	// requests.
	maxBytes = 512 << 10
	// maxGather is how long the queue waits for the end of a transaction: a
	// call that hangs holds nobody up for longer.
	maxGather = 25 * time.Millisecond
)

// errDoubt marks what etcd says to a transaction after it did nothing for it the
// first time: some layer below may have sent that twice, and it was carried out.
var errDoubt = errors.New("locker: perhaps carried out before")

// errUnsent says that a transaction was given up before it was sent.
var errUnsent = errors.New("locker: not sent")

// commit sends t, alone or with others, and returns etcd's answer. After an
// error that is not refused, t may have been carried out, or may yet be.
func (b *batcher) commit(ctx context.Context, t txn) (answer, error) {
	if b.off || b.shuns(t.key) {
		return b.send(ctx, t)
	}
	if era, ok := b.depart(nil); ok {
		defer b.land(era)
		return b.send(ctx, t)
	}
	p := b.passenger(t)
	if max(len(p.cmps), len(p.then), len(p.els)) > maxNested {
		return b.send(ctx, t)
	}
	if era, ok := b.depart(p); ok {
		defer b.land(era)
		return b.send(ctx, t)
	}
	ended, other := signs(ctx)
	for {
		select {
		case <-p.answered:
			a, err := p.answer, p.err
			*p = passenger{answered: p.answered}
			b.spare.Put(p)
			return a, err
		case <-ended:
		case <-other:
		}
		if ctx.Err() != nil {
			return answer{}, b.leave(ctx, p)
		}
		ended, other = ctx.Done(), nil
	}
}

// passenger returns one for t. Who was answered is used again: the flight knows
// it no more then. Who left is not.
func (b *batcher) passenger(t txn) *passenger {
	p, ok := b.spare.Get().(*passenger)
	if !ok {
		p = &passenger{answered: make(chan struct{}, 1)}
	}
	p.txn = t.formed(true)
	return p
}

// depart begins a flight of one, whose era it returns, if another may be on its
// way. Otherwise p, if it is not nil, comes into the queue.
func (b *batcher) depart(p *passenger) (era int, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.flights < maxFlights {
		b.flights++
		return b.era, true
	}
	if p != nil {
		if b.queue = append(b.queue, p); len(b.queue) == 1 {
			b.gather()
		}
	}
	return 0, false
}

// send sends t alone.
func (b *batcher) send(ctx context.Context, t txn) (answer, error) {
	t = t.formed(false)
	resp, err := b.l.kv.Txn(ctx).If(t.cmps...).Then(t.then...).Else(t.els...).Commit()
	if err != nil {
		return answer{}, err
	}
	return answer{resp.Succeeded, false, resp.Header.Revision, resp.Responses}, nil
}

// land ends a flight, and begins the next with those who gathered meanwhile.
func (b *batcher) land(era int) {
	var f *flight
	b.mu.Lock()
	if era == b.era {
		if f = b.board(); f == nil {
			b.flights--
		}
	}
	b.mu.Unlock()
	b.start(f)
}

// gather bounds how long the queue waits from now on. The caller holds mu.
func (b *batcher) gather() {
	b.since = time.Now()
	switch {
	case b.timer == nil:
		b.timer = time.AfterFunc(maxGather, b.takeOff)
	case !b.timed: // one that runs is left alone: to set it anew for each batch costs more
		b.timer.Reset(maxGather)
	}
	b.timed = true
}

// takeOff lets the queue wait no longer for those on their way.
func (b *batcher) takeOff() {
	var f *flight
	b.mu.Lock()
	left := maxGather - time.Since(b.since)
	switch {
	case len(b.queue) == 0:
		b.timed = false
	case left > 0:
		b.timer.Reset(left)
	default:
		b.timed = false
		b.era++
		b.flights = 1
		f = b.board()
	}
	b.mu.Unlock()
	b.start(f)
}

// caution is how long nothing is hoped for after a batch has failed for it.
const caution = 100 * time.Millisecond

// wary reports whether what is likely has just failed.
func (b *batcher) wary() bool {
	at := b.unlikely.Load()
	return at != 0 && sinceStart()-at < int64(caution)
}

// shunning is how long a key's transactions go alone after etcd has refused one
// for its own sake: with it, all others of a batch are refused and go again.
const shunning = time.Second

func (b *batcher) shun(key keyspace.Key) {
	now := sinceStart()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shunned == nil || len(b.shunned) > 1000 {
		b.shunned = make(map[keyspace.Key]int64)
	}
	b.shunned[key] = now
	b.refusal.Store(now)
}

// shuns reports whether a transaction about key is to go alone.
func (b *batcher) shuns(key keyspace.Key) bool {
	recent := func(at int64) bool { return at != 0 && sinceStart()-at < int64(shunning) }
	if !recent(b.refusal.Load()) {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return recent(b.shunned[key])
}

// learn notes it if etcd refused so many operations for their number.
func (b *batcher) learn(err error, ops int) {
	if errors.Is(err, rpctypes.ErrTooManyOps) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.limit = max(1, min(b.limit, ops/2))
	}
}

// takes reports whether etcd takes so many operations at once, as far as known.
func (b *batcher) takes(ops int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return ops <= b.limit
}

// leave gives p up.
func (b *batcher) leave(ctx context.Context, p *passenger) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := p.flight
	if f == nil {
		b.queue = slices.DeleteFunc(b.queue, func(q *passenger) bool { return q == p })
		return fmt.Errorf("%w: %w", errUnsent, ctx.Err())
	}
	p.flight = nil
	if f.left--; f.left == 0 {
		f.cancel()
	}
	return ctx.Err()
}
