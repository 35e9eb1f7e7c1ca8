package guard

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/watchstream"
	"github.com/phpgao/elock/internal/xctx"
)

// A follower tells every change of one key of etcd, in order.
type follower struct {
	get     func(context.Context, ...clientv3.OpOption) (*mvccpb.KeyValue, int64, error)
	watcher clientv3.Watcher
	streams *watchstream.Streams
	name    string
	tell    func(*mvccpb.KeyValue) bool // reports whether to go on; nil: there is none

	seen   int64     // all changes up to this revision are told; 0: that cannot be said
	told   int64     // the revision of the last one told: 0 for a deletion, -1 for none
	behind time.Time // since when a change is known that is not told; zero: none
	failed int       // how many watches in a row were not put in place
}

const (
	// firstOpen is how long a stream may take to be opened, if etcd answers
	// reads meanwhile; maxOpen is the longest that grows to. A login is part
	// of it.
	firstOpen = 2 * time.Second
	maxOpen   = 10 * time.Second
)

var (
	// errStopped says that the loop over the watch has ended.
	errStopped = errors.New("guard: the watch was stopped")
	// errSilent: reads show a change that the watch does not tell.
	errSilent = errors.New("guard: the watch says nothing")
	// errStuck: the stream does not open, though etcd answers reads.
	errStuck = errors.New("guard: the stream of the watch cannot be opened")
	// errUnplaced: the client closed a watch before it was in place, which is what it
	// does when etcd refuses one. It gives no reason; it may be the stream's token.
	errUnplaced = errors.New("guard: the watch was closed before it was in place")
	// errClosed: a watch that was in place ended. The stream may be as good as before.
	errClosed = errors.New("guard: the watch was closed")
	errMoved  = errors.New("guard: the stream of the watch was replaced")
)

// follow makes one watch after another, until the loop over them, ctx, the locker or
// the client ends, or etcd refuses. It returns nil if the loop or ctx has ended.
func (f *follower) follow(ctx, locker, client context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(locker, cancel)()
	defer context.AfterFunc(client, cancel)()
	for wait, open := xctx.FirstPause, firstOpen; ; {
		began := time.Now()
		stream := f.streams.Context(ctx)
		err := f.watch(stream, open)
		if ctx.Err() == nil {
			err = f.between(ctx, stream, err)
		}
		switch {
		case errors.Is(err, errStopped):
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
		if lived := time.Since(began); lived > open+time.Second {
			wait, open = xctx.FirstPause, firstOpen
		} else {
			open = min(2*open, maxOpen)
		}
		wait = xctx.Pause(ctx, wait)
	}
}

// between runs after a watch that failed with why, and before the next one: it reads
// what is stored, and replaces the stream if that may be to blame. An error of it
// ends the following if it is errStopped, or a refusal of etcd.
func (f *follower) between(ctx, stream context.Context, why error) error {
	f.failed++
	var err error
	switch {
	case errors.Is(why, errStopped):
		return why
	case errors.Is(why, errMoved) && f.behind.IsZero():
		return nil // at once: a read might meet the member that the stream has left
	case !errors.Is(why, errStuck) && reads(f.failed):
		// A read tells whether etcd refuses the user, or only the stream's token:
		// a watch does not.
		_, err = f.catchUp(ctx)
	}
	silent := errors.Is(why, errSilent) || errors.Is(why, errStuck) || errors.Is(why, errUnplaced)
	if (silent || watchstream.Dead(why)) && !refused(err) {
		f.streams.Replace(stream)
	}
	return err
}

// reads reports whether a read follows the n-th watch in a row that failed. After
// each second one none does: etcd's client picks the members in turn, and a read
// goes on until one answers, so that the next stream might always meet the same
// member. If that is silent, or a learner, no watch would begin.
func reads(n int) bool { return n%2 == 1 }

// watch tells changes until something breaks. open is how long its stream may take
// to be opened.
//
// The first watch starts from now on, and what was there before is read when it is in
// place: etcd serves a watch that starts in the past from a slow group. Later ones
// start after the last change that was seen.
func (f *follower) watch(ctx context.Context, open time.Duration) error {
	if err := f.streams.Wait(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	fresh, placed := f.seen == 0, false
	changes, err := f.open(ctx, cancel, open)
	if err != nil {
		return err
	}
	defer cancel()
	hear := func(resp clientv3.WatchResponse, ok bool) error {
		switch {
		case !ok && placed:
			return errClosed
		case !ok:
			return errUnplaced
		}
		if resp.Created {
			placed, f.failed = true, 0
		}
		f.streams.Heard(ctx, resp.IsProgressNotify())
		return f.take(ctx, resp, fresh)
	}
	look := time.NewTicker(watchstream.Tick)
	defer look.Stop()
	check := time.Now().Add(checkTicks)
	for err == nil {
		select {
		case resp, ok := <-changes:
			err = hear(resp, ok)
			continue
		case <-ctx.Done(): // etcd's client may fail to close changes
			err = ctx.Err()
			continue
		case <-look.C:
		}
		select { // the caller may have been busy: take what has come meanwhile before looking for silence
		case resp, ok := <-changes:
			err = hear(resp, ok)
			continue
		default:
		}
		switch now := time.Now(); {
		case !f.streams.Probe(ctx, f.watcher.RequestProgress):
			err = errMoved
		case !now.Before(check):
			err = f.check(ctx)
			check = time.Now().Add(checkTicks)
			if !f.behind.IsZero() {
				check = time.Now().Add(graceTicks)
			}
		}
	}
	return err
}

// open starts a watch and waits until the client has opened its stream. Each time
// that limit has passed, it reads what is stored, but see reads; if etcd answers, it
// fails with errStuck. The watch that it leaves behind is cancelled only when its
// stream is open, or when ctx ends: the client closes a stream after the last of its
// watches has ended.
func (f *follower) open(ctx context.Context, cancel context.CancelFunc, limit time.Duration) (clientv3.WatchChan, error) {
	opts := []clientv3.OpOption{clientv3.WithCreatedNotify()}
	if f.seen != 0 {
		opts = append(opts, clientv3.WithRev(f.seen+1))
	}
	placed := make(chan clientv3.WatchChan, 1)
	go func() { placed <- f.watcher.Watch(ctx, f.name, opts...) }()
	for {
		t := time.NewTimer(limit)
		select {
		case changes := <-placed:
			t.Stop()
			return changes, nil
		case <-t.C:
		}
		answered, err := true, error(nil)
		if reads(f.failed + 1) {
			answered, err = f.catchUp(ctx)
		}
		switch {
		case err != nil:
			cancel()
			return nil, err
		case answered:
			go func() {
				<-placed
				cancel()
			}()
			return nil, errStuck
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
	f.seen, f.told, f.behind = rev, kv.GetModRevision(), time.Time{}
	if !f.tell(kv) {
		return errStopped
	}
	return nil
}
