package locker

import (
	"context"
	"sync"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/clock"
	"github.com/phpgao/elock/internal/entry"
	"github.com/phpgao/elock/internal/feed"
	"github.com/phpgao/elock/internal/index"
	"github.com/phpgao/elock/internal/inspect"
	"github.com/phpgao/elock/internal/lease"
	"github.com/phpgao/elock/internal/linger"
	"github.com/phpgao/elock/internal/losswatch"
	"github.com/phpgao/elock/internal/optimistic"
	"github.com/phpgao/elock/internal/queue"
	"github.com/phpgao/elock/internal/xctx"
	"github.com/phpgao/elock/keyspace"
)

// A Locker takes locks in etcd, keeps them, watches them and releases them. A
// process needs one. Its methods may be called from several goroutines.
type Locker struct {
	config
	client *clientv3.Client
	etcd   *calls.Client
	root   string               // the directory of all queues
	now    func() clock.Instant // reads the clocks

	hooks hooks
	batch *batch.Batcher

	// drain ends when no more acquires are taken, and ctx when the Locker closes. after
	// ends half a second later: what is on its way then may still be answered. grants
	// ends when Close no longer waits for the grant of a lease.
	drain, ctx, grants                context.Context
	after                             *xctx.Limiter
	stopAcquires, stopAll, stopGrants context.CancelCauseFunc

	goroutines sync.WaitGroup // started under mu while the Locker is not closed
	hooked     sync.WaitGroup // run hooks; started under mu until Close waits for them
	closeTurn  chan struct{}  // full while a Close runs

	holds     index.Index[*Hold] // by the names of their entries in etcd
	leases    *lease.Set
	entries   *entry.Set
	queues    *queue.Set
	inspector *inspect.Inspector
	feeds     *feed.Hub // of locks that others want, too
	losses    *losswatch.Watcher
	updates   *optimistic.Table[AcquireOption]
	lingering linger.Config
	unkept    linger.Waitlist[*Hold] // have ended, and their locks are to stay taken, but etcd does not know that yet

	mu     sync.Mutex  // guards closed, waited and early; never held over a callback, a hook or a call to etcd
	closed atomic.Bool // set under mu
	waited bool        // Close waits for hooked, or has done so
	early  []error     // of locks that Close frees earlier than AtLeast says
}

// check returns why the Locker takes no calls, if so.
func (l *Locker) check() error {
	if err := l.made(); err != nil {
		return err
	}
	if l.closed.Load() {
		return ErrClosed
	}
	return nil
}

// checkKey returns why the Locker takes no calls that are about key, if so.
func (l *Locker) checkKey(key keyspace.Key) error {
	if err := l.check(); err != nil || !key.IsZero() {
		return err
	}
	return errZeroKey
}

// made returns an error unless New has made the Locker.
func (l *Locker) made() error {
	if l.ctx == nil {
		return errZeroLocker
	}
	return nil
}

var errZeroLocker = invalid("zero Locker; use New")

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

// join has Close wait for the caller, which must call goroutines.Done. It reports false once
// the Locker is closed.
func (l *Locker) join() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Load() {
		return false
	}
	l.goroutines.Add(1)
	return true
}

// Client returns the client that the Locker was made with.
func (l *Locker) Client() *clientv3.Client { return l.client }

// Prefix returns what WithPrefix said, or its default.
func (l *Locker) Prefix() string { return l.prefix }

// Context returns a context that is done when the Locker is closed, with the
// cause ErrClosed.
func (l *Locker) Context() context.Context {
	if l.ctx == nil {
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(errZeroLocker)
		return ctx
	}
	return l.ctx
}
