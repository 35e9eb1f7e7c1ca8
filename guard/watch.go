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
// It goes on too when a connection breaks, a leader is lost or etcd is away,
// and misses nothing by that; only if etcd has compacted what was committed
// meanwhile, the values between are left out, and the next is the current one.
//
// Watch ends when the loop does, or ctx. If the Locker is closed it ends with
// locker.ErrClosed, and if etcd refuses it with etcd's error. A guard without a
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
				tell: func(kv *mvccpb.KeyValue) bool {
					value, err := s.decode(kv)
					return yield(value, g.named("watch", err))
				},
			}
			err = f.follow(ctx, g.locker.Context())
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

	seen int64 // all changes up to this revision are told; 0: that cannot be said
	told int64 // the revision of the last one told: 0 for a deletion, -1 for none
}

const (
	// retryPause is the first pause before something is tried again, and
	// maxPause the longest.
	retryPause = 50 * time.Millisecond
	maxPause   = time.Second
	// checkTicks is how often a silent watch is checked: a connection may be
	// dead without a word.
	checkTicks = 20 * time.Second
)

var (
	errEnough = errors.New("guard: the caller has enough")
	errSilent = errors.New("guard: the watch has missed a change")
)

// follow goes on until the caller has enough, ctx or the locker ends, or etcd
// refuses: only then it returns an error.
func (f *follower) follow(ctx, locker context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(locker, cancel)()
	for wait := retryPause; ; {
		began := time.Now()
		err := f.watch(ctx)
		if errors.Is(err, errEnough) {
			return nil
		}
		if ctx.Err() == nil && !refused(err) {
			err = f.check(ctx) // a watch does not tell why it was refused
		}
		switch {
		case locker.Err() != nil:
			return context.Cause(locker)
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
	if f.seen > 0 {
		opts = append(opts, clientv3.WithRev(f.seen+1))
	}
	changes := f.watcher.Watch(ctx, f.name, opts...)
	check := time.NewTicker(checkTicks)
	defer check.Stop()
	for {
		select {
		case resp, ok := <-changes:
			if !ok {
				return errSilent
			}
			if err := f.take(ctx, resp); err != nil {
				return err
			}
		case <-check.C:
			if err := f.check(ctx); errors.Is(err, errSilent) || refused(err) {
				return err
			}
		}
	}
}

// take tells what resp has.
func (f *follower) take(ctx context.Context, resp clientv3.WatchResponse) error {
	if err := resp.Err(); err != nil {
		if errors.Is(err, rpctypes.ErrCompacted) {
			f.seen = 0
		}
		return err
	}
	if f.seen == 0 {
		kv, rev, err := f.get(ctx)
		if err != nil {
			return err
		}
		f.seen = rev
		if mod := kv.GetModRevision(); mod != f.told {
			f.told = mod
			if !f.tell(kv) {
				return errEnough
			}
		}
	}
	for _, ev := range resp.Events {
		if ev.Kv.ModRevision <= f.seen {
			continue // read already
		}
		f.seen, f.told = ev.Kv.ModRevision, ev.Kv.ModRevision
		kv := ev.Kv
		if ev.Type == clientv3.EventTypeDelete {
			kv, f.told = nil, 0
		}
		if !f.tell(kv) {
			return errEnough
		}
	}
	return nil
}

// check returns errSilent if there are changes that are not told.
func (f *follower) check(ctx context.Context) error {
	kv, rev, err := f.get(ctx)
	switch {
	case err != nil:
		return err
	case kv.GetModRevision() != f.told:
		return errSilent
	case f.seen > 0 && kv != nil: // of what is absent, changes may be on their way
		f.seen = rev
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
