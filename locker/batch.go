package locker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/keyspace"
)

// A txn is a transaction about one lock, or a few.
type txn struct {
	key       keyspace.Key
	others    []keyspace.Key
	cmps      []clientv3.Cmp
	then, els []clientv3.Op
	likely    bool // cmps hold but for accidents

	// form, if there is one, makes the transaction when it is known whether it
	// goes in one that does nothing if any of its comparisons fails.
	form    func(flat bool) txn
	hopeful bool // it does something else if its comparisons hold than it would have done
}

// An answer is what etcd says to a txn.
type answer struct {
	succeeded bool
	hopeful   bool  // to a txn that was
	rev       int64 // of etcd; where the txn wrote, that of its writes
	responses []*pb.ResponseOp
}

// kvs returns the keys that the i-th operation read.
func (a answer) kvs(i int) []*mvccpb.KeyValue { return a.responses[i].GetResponseRange().Kvs }

// ops is how many operations of a batch t may be.
func (t txn) ops() int {
	if t.likely {
		return max(len(t.cmps), len(t.then))
	}
	return 1
}

// size is how much t writes, in bytes.
func (t txn) size() (n int) {
	for _, op := range t.then {
		n += len(op.ValueBytes())
	}
	return n
}

// formed is t as it is to be sent.
func (t txn) formed(flat bool) txn {
	if t.form == nil {
		return t
	}
	f := t.form(flat)
	f.form = t.form
	return f
}

// touches reports whether t is about one of these locks.
func (t txn) touches(locks map[keyspace.Key]bool) bool {
	return locks[t.key] || slices.ContainsFunc(t.others, func(k keyspace.Key) bool { return locks[k] })
}

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
	timer   *time.Timer  // runs while there is a queue; ends its wait

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

// A passenger is a transaction that goes with others.
type passenger struct {
	txn
	flight *flight // nil while it is in the queue

	news chan bool // gets true when it is answered, and perhaps false before that, when it takes long
	answer
	err error
}

// A flight is a batch on its way. It is cancelled when nobody waits for it.
type flight struct {
	ctx    context.Context
	cancel context.CancelFunc
	era    int
	all    []*passenger
	left   int         // of all, those that wait for the answer; guarded by batcher.mu
	slow   *time.Timer // tells all that it takes long
}

// errUnsent says that a transaction was given up before it was sent.
var errUnsent = errors.New("locker: not sent")

// commit sends t, alone or with others, and returns etcd's answer. After an
// error that is not refused, t may have been carried out, or may yet be.
func (b *batcher) commit(ctx context.Context, t txn) (answer, error) {
	if b.off {
		return b.send(ctx, t)
	}
	if era, ok := b.depart(nil); ok {
		defer b.land(era)
		return b.send(ctx, t)
	}
	p := &passenger{txn: t.formed(true), news: make(chan bool, 2)}
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
		case answered := <-p.news:
			if answered {
				return p.answer, p.err
			}
		case <-ended:
		case <-other:
		}
		if ctx.Err() != nil {
			return answer{}, b.leave(ctx, p)
		}
		ended, other = ctx.Done(), nil
	}
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
	if b.timer == nil {
		b.timer = time.AfterFunc(maxGather, b.takeOff)
	} else {
		b.timer.Reset(maxGather)
	}
}

// takeOff lets the queue wait no longer for those on their way.
func (b *batcher) takeOff() {
	var f *flight
	b.mu.Lock()
	if len(b.queue) > 0 {
		b.era++
		b.flights = 1
		f = b.board()
	}
	b.mu.Unlock()
	b.start(f)
}

// board takes from the queue, in its order, what may go together: one
// transaction for each lock. The caller holds mu.
func (b *batcher) board() *flight {
	if len(b.queue) == 0 {
		return nil
	}
	f := &flight{era: b.era}
	after := &late{caller: b.l.ctx, grace: grace}
	f.ctx, f.cancel = after, after.stop
	locks := make(map[keyspace.Key]bool, min(len(b.queue), b.limit))
	ops, bytes := 0, 0
	b.queue = slices.DeleteFunc(b.queue, func(p *passenger) bool {
		if p.touches(locks) || len(f.all) > 0 && (ops+p.ops() > b.limit || bytes+p.size() > maxBytes) {
			return false
		}
		ops += p.ops()
		bytes += p.size()
		locks[p.key] = true
		for _, k := range p.others {
			locks[k] = true
		}
		p.flight = f
		f.all = append(f.all, p)
		return true
	})
	f.left = len(f.all)
	f.slow = time.AfterFunc(maxWake, func() {
		for _, p := range f.all {
			p.news <- false
		}
	})
	if len(b.queue) > 0 {
		b.gather()
	}
	return f
}

func (b *batcher) start(f *flight) {
	if f == nil {
		return
	}
	fly := func() {
		b.fly(f.ctx, f.all, true)
		f.slow.Stop()
		f.cancel()
		b.land(f.era)
	}
	if !b.l.spawn(fly) {
		fly() // Close does not wait for it
	}
}

// fly sends transactions together and gives everybody the answer. Flat, the
// likely ones become parts of one, which does nothing if any of them must fail:
// then all are sent again, nested, which costs more. What one of them makes etcd
// refuse is sent again in halves, so that it alone fails.
func (b *batcher) fly(ctx context.Context, all []*passenger, flat bool) {
	if len(all) == 1 {
		p := all[0]
		p.answer, p.err = b.send(ctx, p.txn)
		p.news <- true
		return
	}
	n := 0
	for _, p := range all {
		if !flat {
			p.txn = p.formed(false)
		}
		n += len(p.then)
	}
	cmps, ops := make([]clientv3.Cmp, 0, n), make([]clientv3.Op, 0, n)
	for _, p := range all {
		if flat && p.likely {
			cmps, ops = append(cmps, p.cmps...), append(ops, p.then...)
		} else {
			ops = append(ops, clientv3.OpTxn(p.cmps, p.then, p.els))
		}
	}
	resp, err := b.l.kv.Txn(ctx).If(cmps...).Then(ops...).Commit()
	if divisible(err) {
		b.learn(err, len(ops))
		half := len(all) / 2
		b.fly(ctx, all[:half], flat)
		b.fly(ctx, all[half:], flat)
		return
	}
	if err == nil && !resp.Succeeded {
		b.unlikely.Store(sinceStart())
		b.fly(ctx, all, false)
		return
	}
	i := 0
	for _, p := range all {
		switch p.err = err; {
		case err != nil:
		case flat && p.likely:
			p.answer = answer{true, p.txn.hopeful, resp.Header.Revision, resp.Responses[i : i+len(p.then)]}
			i += len(p.then)
		default:
			t := resp.Responses[i].GetResponseTxn()
			p.answer = answer{t.Succeeded, false, resp.Header.Revision, t.Responses}
			i++
		}
		p.news <- true
	}
}

// caution is how long nothing is hoped for after a batch has failed for it.
const caution = 100 * time.Millisecond

// wary reports whether what is likely has just failed.
func (b *batcher) wary() bool {
	at := b.unlikely.Load()
	return at != 0 && sinceStart()-at < int64(caution)
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

// divisible reports whether etcd refused a batch for what may be the fault of
// one of its transactions, or of their number.
func divisible(err error) bool {
	var e rpctypes.EtcdError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code().String() {
	case "InvalidArgument", "NotFound", "PermissionDenied":
		return true
	}
	return false
}

// leave gives p up.
func (b *batcher) leave(ctx context.Context, p *passenger) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.flight == nil {
		b.queue = slices.DeleteFunc(b.queue, func(q *passenger) bool { return q == p })
		return fmt.Errorf("%w: %w", errUnsent, ctx.Err())
	}
	if p.flight.left--; p.flight.left == 0 {
		p.flight.cancel()
	}
	return ctx.Err()
}
