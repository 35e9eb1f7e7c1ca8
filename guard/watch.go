package guard

import (
	"context"
	"errors"
	"iter"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Watch yields the value, and then every value that is committed, in order. A
// value that was never stored, or was deleted, is the zero T. What does not
// decode is yielded as a zero T with an error that matches ErrDecode, and the
// watch goes on.
//
// It goes on too when a connection breaks, a leader is lost or etcd is away, and
// misses nothing by that. Values between are left out, and the next is the
// current one, if etcd has compacted what was committed meanwhile, or if a
// connection turns out to be dead without a word; that takes some 20 seconds.
//
// Watch ends when the loop does, or ctx. If the Locker is closed it ends with
// locker.ErrClosed, if its client is with an error that says so, and if etcd
// refuses it with etcd's error. A guard without a
// Stored value yields ErrNoResource, once.
func (g *Guard[T]) Watch(ctx context.Context) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		s, err := g.stored(ctx)
		if err == nil {
			f := follower{
				get:     s.get,
				watcher: g.locker.Client().Watcher,
				name:    s.name(),
				told:    -1,
				stuck:   -1,
				tell: func(kv *mvccpb.KeyValue) bool {
					value, err := s.decode(kv)
					return yield(value, g.named("watch", err))
				},
			}
			err = f.follow(ctx, g.locker.Context(), g.locker.Client().Ctx())
		}
		if err != nil && ctx.Err() == nil {
			yield(zero, g.named("watch", err))
		}
	}
}

// A follower tells every change of one key of etcd, in order.
type follower struct {
	get     func(context.Context, ...clientv3.OpOption) (*mvccpb.KeyValue, int64, error)
	watcher clientv3.Watcher
	name    string
	tell    func(*mvccpb.KeyValue) bool // reports whether to go on; nil: there is none

	seen  int64     // all changes up to this revision are told; 0: that cannot be said
	told  int64     // the revision of the last one told: 0 for a deletion, -1 for none
	stuck int64     // what seen was when a check found a change that is not told; -1: it found none
	since time.Time // when that was
}

const (
	// retryPause is the first pause before something is tried again, and
	// maxPause the longest.
	retryPause = 50 * time.Millisecond
	maxPause   = time.Second
	// checkTicks is how often it is checked whether a watch that says nothing
	// is dead.
	checkTicks = 10 * time.Second
)

var (
	errEnough = errors.New("guard: the caller has enough")
	errSilent = errors.New("guard: the watch says nothing")
)

// follow goes on until the caller has enough, ctx, the locker or the client ends,
// or etcd refuses.
func (f *follower) follow(ctx, locker, client context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(locker, cancel)()
	defer context.AfterFunc(client, cancel)()
	for wait := retryPause; ; {
		began := time.Now()
		err := f.watch(ctx)
		if ctx.Err() == nil && !errors.Is(err, errEnough) {
			err = f.check(ctx) // a watch does not tell why it was refused
		}
		switch {
		case errors.Is(err, errEnough):
			return nil
		case locker.Err() != nil:
			return context.Cause(locker)
		case client.Err() != nil:
			return errClientClosed // not that of its context: the caller's has not ended
		case ctx.Err() != nil:
			return nil
		case refused(err):
			return err
		}
		if time.Since(began) > maxPause {
			wait = retryPause
		}
		pause(ctx, wait)
		wait = min(2*wait, maxPause)
	}
}

// watch tells changes until something breaks.
//
// The first watch starts from now on: etcd serves those that start in the past
// from a slow group. So it reads once the watch is in place. Later ones start
// after the last change that was seen.
func (f *follower) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	opts := []clientv3.OpOption{clientv3.WithCreatedNotify()}
	fresh := f.seen == 0
	if !fresh {
		opts = append(opts, clientv3.WithRev(f.seen+1))
	}
	limit := time.AfterFunc(checkTicks, cancel) // Watch waits until the watch is in place
	changes := f.watcher.Watch(ctx, f.name, opts...)
	if !limit.Stop() {
		return errSilent
	}
	check := time.NewTicker(checkTicks)
	defer check.Stop()
	for {
		var err error
		select {
		case resp, ok := <-changes:
			if !ok {
				return errSilent
			}
			err = f.take(ctx, resp, fresh)
		case <-check.C:
			err = f.check(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// take tells what resp says.
func (f *follower) take(ctx context.Context, resp clientv3.WatchResponse, fresh bool) error {
	if err := resp.Err(); err != nil {
		if errors.Is(err, rpctypes.ErrCompacted) {
			f.seen = 0
		}
		return err
	}
	if resp.Created && fresh {
		kv, rev, err := f.get(ctx)
		if err != nil {
			return err
		}
		if kv.GetModRevision() != f.told {
			return f.next(kv, rev)
		}
		f.seen = rev
	}
	for _, ev := range resp.Events {
		kv, rev := ev.Kv, ev.Kv.ModRevision
		if rev <= f.seen {
			continue // read already
		}
		if ev.Type == clientv3.EventTypeDelete {
			kv = nil
		}
		if err := f.next(kv, rev); err != nil {
			return err
		}
	}
	return nil
}

// next tells the value as of rev.
func (f *follower) next(kv *mvccpb.KeyValue, rev int64) error {
	f.seen, f.told = rev, kv.GetModRevision()
	if !f.tell(kv) {
		return errEnough
	}
	return nil
}

// check finds out whether the watch has failed to tell of a change: then it
// returns errSilent, so that another one may. A client sends all watches in one
// stream. If that is dead another one does no better, so at the next check it
// tells the current value.
func (f *follower) check(ctx context.Context) error {
	kv, rev, err := f.get(ctx)
	switch {
	case err != nil:
		f.stuck = -1
		if refused(err) {
			return err
		}
	case kv.GetModRevision() == f.told:
		f.stuck = -1
		if kv != nil { // else changes may be on their way
			f.seen = rev
		}
	case f.stuck != f.seen:
		f.stuck, f.since = f.seen, time.Now()
		return errSilent
	case time.Since(f.since) >= checkTicks/2:
		return f.next(kv, rev)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
