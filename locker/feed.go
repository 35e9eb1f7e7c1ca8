package locker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A feed is a watch that tells the waiters of this process what is deleted: in
// the directory of a lock, or of one entry in it. It stays for a while after
// the last of them, so that who comes again and again to a contended lock finds
// it in place: a wait then costs no call to etcd at all.
//
// It watches from now on, without a start revision: etcd serves a watch that
// starts in the past from a slow group, only every 100ms. From the notice that
// the watch is in place it knows the revision from which on it misses nothing.
type feed struct {
	l    *Locker
	name string
	opts []clientv3.OpOption

	mu    sync.Mutex
	users int
	from  int64            // it knows every delete after this revision; 0: no watch is in place
	gone  map[string]int64 // the revision of the last delete of a key
	came  *mvccpb.KeyValue // the last new key, unless f does not watch these
	news  chan struct{}    // closed when any of this changes
}

const (
	// feedIdle is how long a feed stays without a user, and up to twice that.
	feedIdle = time.Second
	// maxGone is how many deleted keys a feed remembers.
	maxGone = 1000
)

// feeds are the feeds of a Locker, by what they watch.
type feeds struct {
	n  atomic.Int64 // how many there are
	mu sync.Mutex
	m  map[string]*feed
}

// watched reports whether there is a feed of a directory.
func (l *Locker) watched(dir string) bool {
	if l.feeds.n.Load() == 0 {
		return false
	}
	l.feeds.mu.Lock()
	defer l.feeds.mu.Unlock()
	return l.feeds.m[dir] != nil
}

// feed returns the feed of a key, or with opts of a directory. The caller must
// call leave.
func (l *Locker) feed(name string, opts ...clientv3.OpOption) *feed {
	l.feeds.mu.Lock()
	defer l.feeds.mu.Unlock()
	f := l.feeds.m[name]
	if f == nil {
		f = &feed{l: l, name: name, opts: opts, gone: make(map[string]int64), news: make(chan struct{})}
		if !l.spawn(f.run) {
			return f // the Locker is closed, and so is every wait
		}
		if l.feeds.m == nil {
			l.feeds.m = make(map[string]*feed)
		}
		l.feeds.m[name] = f
		l.feeds.n.Add(1)
	}
	f.mu.Lock()
	f.users++
	f.mu.Unlock()
	return f
}

func (f *feed) leave() {
	f.mu.Lock()
	f.users--
	f.mu.Unlock()
}

// end ends a feed that nobody uses.
func (f *feed) end() bool {
	f.l.feeds.mu.Lock()
	defer f.l.feeds.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.users > 0 {
		return false
	}
	delete(f.l.feeds.m, f.name)
	f.l.feeds.n.Add(-1)
	return true
}

// run watches until nobody has used f for a while.
func (f *feed) run() {
	idle := time.NewTicker(feedIdle)
	defer idle.Stop()
	unused := false
	for wait := retryPause; f.l.ctx.Err() == nil; {
		began := time.Now()
		if f.watch(idle.C, &unused) || f.l.ctx.Err() != nil {
			return
		}
		if time.Since(began) > maxWake {
			wait = retryPause
		}
		wait = pause(f.l.ctx, wait)
	}
}

// watch watches for one round, and reports whether f has ended. A round is
// bounded, so that a watch that went silent is replaced. unused tells whether f
// had no user at the last tick.
func (f *feed) watch(idle <-chan time.Time, unused *bool) (ended bool) {
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(f.l.ctx), watchRound)
	defer cancel()
	defer f.note(func() { f.from = 0 })
	changes := f.l.watcher.Watch(ctx, f.name, append(f.opts, clientv3.WithCreatedNotify())...)
	for {
		select {
		case resp, ok := <-changes:
			if !ok || resp.Err() != nil {
				select {
				case <-idle:
					return f.tick(unused)
				default:
					return false
				}
			}
			f.tell(resp)
		case <-idle:
			if f.tick(unused) {
				return true
			}
		}
	}
}

// tick ends f if it has no user and had none at the last tick.
func (f *feed) tick(unused *bool) (ended bool) {
	f.mu.Lock()
	was := *unused
	*unused = f.users == 0
	f.mu.Unlock()
	return was && *unused && f.end()
}

func (f *feed) tell(resp clientv3.WatchResponse) {
	f.note(func() {
		if resp.Created {
			f.from = resp.Header.Revision
		}
		if len(f.gone) > maxGone {
			clear(f.gone)
			f.from = resp.Header.Revision
		}
		for _, ev := range resp.Events {
			switch {
			case ev.Type == clientv3.EventTypeDelete:
				f.gone[string(ev.Kv.Key)] = ev.Kv.ModRevision
			case ev.IsCreate():
				f.came = ev.Kv
			}
		}
	})
}

// note changes what f knows, and wakes all who wait for that.
func (f *feed) note(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	close(f.news)
	f.news = make(chan struct{})
}

// await waits until the nearest entry ahead of c has ended, and finds c's
// place anew. It may return earlier.
func (c *claim) await(ctx context.Context) error {
	f := c.follow()
	defer f.leave()
	nearest := c.place.nearest()
	for wait := 2 * retryPause; ; { // after the feed has tried again
		f.mu.Lock()
		news, live := f.news, f.from != 0
		sure := live && f.from <= c.place.rev // it missed nothing since then
		displaced := f.gone[c.name] > c.rev
		left := slices.DeleteFunc(slices.Clone(c.place.ahead), func(kv *mvccpb.KeyValue) bool {
			return f.gone[string(kv.Key)] > kv.CreateRevision
		})
		f.mu.Unlock()
		var poll <-chan time.Time
		switch {
		case displaced:
			return errDisplaced
		case sure && len(left) > 0 && left[0] == nearest:
		case sure && c.place.complete:
			c.place.ahead, c.place.n = left, len(left)
			return nil
		case live:
			poll = expired
		default:
			poll = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-news:
			continue
		case <-poll:
		}
		switch err := c.look(ctx); {
		case errors.Is(err, errDisplaced) || refused(err):
			return err
		case err != nil:
			wait = pause(ctx, wait)
		case !same(c.place.nearest(), nearest):
			return nil
		default:
			nearest, wait = c.place.nearest(), min(2*wait, maxWake)
		}
	}
}

// expired is a timer's channel when there is nothing to wait for.
var expired = func() <-chan time.Time { c := make(chan time.Time); close(c); return c }()

// same reports whether two keys, of which the first may be nil, are one entry.
func same(a, b *mvccpb.KeyValue) bool {
	return a != nil && a.CreateRevision == b.CreateRevision
}

// follow returns the feed that tells what becomes of those ahead of c: that of
// the directory near the head of the queue, and otherwise only that of the
// entry directly ahead, so that a release does not wake a long queue.
func (c *claim) follow() *feed {
	if c.place.complete {
		return c.l.directory(c.dir)
	}
	return c.l.feed(string(c.place.nearest().Key), clientv3.WithFilterPut())
}

// directory returns the feed of a lock's directory.
func (l *Locker) directory(dir string) *feed {
	if l.retain > 0 {
		return l.feed(dir, clientv3.WithPrefix())
	}
	return l.feed(dir, clientv3.WithPrefix(), clientv3.WithFilterPut())
}
