package locker

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/keyspace"
)

// A Locker takes locks in etcd, keeps them, watches them and releases them. A
// process needs one. Its methods may be called from several goroutines.
type Locker struct {
	config
	err     error // of New: every call returns it
	client  *clientv3.Client
	kv      clientv3.KV
	leaser  clientv3.Lease
	watcher clientv3.Watcher
	root    string         // the directory of all queues
	now     func() instant // reads the clocks

	lanes   lanes
	batch   batcher
	nonce   atomic.Uint64
	tenants tenants // of the classic calls

	// drain ends when no more acquires are taken, ctx when the Locker does,
	// after when what is on its way then may have been answered, and grants
	// when Close no longer waits for a lease that is on its way.
	drain, ctx, after, grants         context.Context
	stopAcquires, stopAll, stopGrants context.CancelCauseFunc

	goroutines sync.WaitGroup // started under mu while the Locker is not closed
	wake       chan struct{}  // wakes the sentry
	closeTurn  chan struct{}  // full while a Close runs

	holds  registry
	leases sync.Map     // in use: of *lease, by the TTL that was asked for
	feeds  feeds        // of locks that others want, too
	kept   atomic.Int64 // locks that nobody holds
	awake  atomic.Bool  // the sentry is

	limited atomic.Pointer[limit] // the last

	mu     sync.Mutex  // never held over a callback, a hook or a call to etcd
	closed atomic.Bool // set under mu
	strays []*lease    // given up, but perhaps alive in etcd
}

// New returns a Locker that uses the KV, Lease and Watcher of client, which it
// never closes. It sends nothing to etcd.
//
// If an option or the client is bad, New returns the error and a Locker whose
// every call returns that error too.
func New(client *clientv3.Client, opts ...Option) (*Locker, error) {
	c := newConfig(opts)
	switch {
	case client == nil:
		c.fail(invalid("nil client"))
	case client.KV == nil || client.Lease == nil || client.Watcher == nil:
		c.fail(invalid("client without KV, Lease or Watcher"))
	}
	if c.err != nil {
		err := &Error{Op: "new", Err: c.err}
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(err)
		return &Locker{err: err, ctx: ctx}, err
	}
	l := &Locker{
		config:    c,
		client:    client,
		kv:        client.KV,
		leaser:    client.Lease,
		watcher:   client.Watcher,
		root:      strings.TrimSuffix(keyspace.MustParse("x").Path(c.prefix), "x/"),
		now:       readClocks,
		wake:      make(chan struct{}, 1),
		closeTurn: make(chan struct{}, 1),
	}
	l.lanes.idle = make(chan struct{}, 1)
	l.drain, l.stopAcquires = context.WithCancelCause(context.Background())
	l.ctx, l.stopAll = context.WithCancelCause(context.Background())
	l.after = after(l.ctx, grace)
	l.grants, l.stopGrants = context.WithCancelCause(context.Background())
	l.batch = batcher{l: l, off: c.noBatching, limit: maxBatch}
	l.spawn(l.monitor)
	l.spawn(l.sentry)
	return l, nil
}

// check returns why the Locker takes no calls, if so.
func (l *Locker) check() error {
	if l.err != nil {
		return l.err
	}
	if l.closed.Load() {
		return ErrClosed
	}
	return nil
}

// spawn runs f on a goroutine that Close waits for. It reports false, and does
// nothing, once the Locker is closed.
func (l *Locker) spawn(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Load() {
		return false
	}
	l.goroutines.Go(f)
	return true
}

// add makes h known, or returns why it cannot be held.
func (l *Locker) add(h *Hold) error {
	err := l.holds.add(h, func() error {
		if l.drain.Err() != nil {
			return ErrClosed
		}
		if why := h.claim.lease.lost.Load(); why != 0 {
			return &LostError{Reason: Reason(why), Token: h.token}
		}
		return nil
	})
	if err == nil && !l.awake.Load() && l.awake.CompareAndSwap(false, true) {
		select {
		case l.wake <- struct{}{}:
		default: // it is to wake up already
		}
	}
	return err
}

// endAll ends holds for one cause. It first tells all of them, and then does
// what may take time.
func endAll(holds []*Hold, cause func(*Hold) error) (ended int) {
	mine := holds[:0]
	for _, h := range holds {
		if h.end(cause(h)) {
			mine = append(mine, h)
		}
	}
	for _, h := range mine {
		h.ended()
		h.claim.done()
	}
	return len(mine)
}

// Shutdown refuses new acquires, ends those that wait with ErrClosed, waits
// until every hold is released, and then calls Close, which has a bound of its
// own. If ctx ends first it returns the context's error: the holds go on,
// acquires stay refused, and Close may still be called.
func (l *Locker) Shutdown(ctx context.Context) error {
	if err := l.check(); err != nil {
		return &Error{Op: "shutdown", Err: err}
	}
	l.stopAcquires(ErrClosed)
	if err := l.lanes.drain(ctx); err != nil {
		return &Error{Op: "shutdown", Err: err}
	}
	return l.Close()
}

// Close ends every wait and every hold now, with ErrClosed, revokes the
// Locker's leases, and with them deletes all its keys. It does not wait for
// functions that run under a lock: see Shutdown. The client stays open.
//
// Close returns within 3 seconds or so when etcd cannot be reached, with an
// error that says which leases it left to expire. It may be repeated, and then
// tries again to revoke those.
func (l *Locker) Close() error {
	if l.err != nil {
		return &Error{Op: "close", Err: l.err}
	}
	l.closeTurn <- struct{}{}
	defer func() { <-l.closeTurn }()

	l.stopAcquires(ErrClosed)
	l.mu.Lock()
	l.closed.Store(true)
	l.mu.Unlock()
	endAll(l.holds.all(func(*Hold) bool { return true }), func(*Hold) error { return ErrClosed })

	ctx, cancel := context.WithTimeoutCause(context.Background(), closePatience, ErrUnavailable)
	defer cancel()
	stop := time.AfterFunc(closePatience/2, func() { l.stopGrants(ErrClosed) })
	l.stopAll(ErrClosed)
	l.goroutines.Wait()
	stop.Stop()
	l.stopGrants(ErrClosed)

	left, err := l.revoke(ctx)
	if len(left) > 0 {
		return &Error{Op: "close", Err: fmt.Errorf("leases %x left to expire: %w", left, err)}
	}
	return nil
}

// Client returns the client that the Locker was made with.
func (l *Locker) Client() *clientv3.Client { return l.client }

// Prefix returns what WithPrefix said, or its default.
func (l *Locker) Prefix() string { return l.prefix }

// Context returns a context that is done when the Locker is closed, with the
// cause ErrClosed, or at once, with the error of New.
func (l *Locker) Context() context.Context { return l.ctx }
