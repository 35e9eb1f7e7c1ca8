package locker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/phpgao/elock/keyspace"
)

// AcquireAll acquires several keys, each as Acquire does, and returns one Hold
// for all. It takes them in an order of its own, the same in every process, so
// that callers who name them in different orders never wait for each other in a
// circle. If it fails, none is held. A key that comes twice is ErrInvalidOption.
//
// If all of them are free, one transaction of etcd acquires them: hooks see that
// as a try of each, and if it fails as another acquire of each.
//
// The hold ends as a whole: when one of its locks is lost, all end for that
// reason, and the other locks are freed. Each has a token and a comparison of its
// own: see Tokens and Fences. Where etcd is silent, AcquireAll returns within a
// second after the end of ctx.
func (l *Locker) AcquireAll(ctx context.Context, keys ...keyspace.Key) (*Hold, error) {
	return l.AcquireAllWith(ctx, nil, keys...)
}

// AcquireAllWith is AcquireAll with options, which every one of the locks gets.
// Only what Reading names is read once, when all are held. MaxHeld counts for
// each lock from when that was acquired, and the first that is over ends all.
func (l *Locker) AcquireAllWith(ctx context.Context, opts []AcquireOption, keys ...keyspace.Key) (*Hold, error) {
	keys = slices.Clone(keys)
	slices.SortFunc(keys, func(a, b keyspace.Key) int { return strings.Compare(a.String(), b.String()) })
	if err := l.admitAll(ctx, keys, opts); err != nil {
		return nil, err
	}
	if len(keys) == 1 {
		return l.Acquire(ctx, keys[0], opts...)
	}
	for wait := retryPause; ; wait = pause(ctx, wait) {
		h, err := l.acquireAll(ctx, opts, keys)
		if errors.Is(err, ErrLost) && ctx.Err() == nil {
			continue // one while it waited for another: to the end of the queues
		}
		return h, err
	}
}

func (l *Locker) acquireAll(ctx context.Context, opts []AcquireOption, keys []keyspace.Key) (*Hold, error) {
	g, bound := new(group), false
	defer func() {
		if !bound { // also when a callback panics
			_ = g.each(func(h *Hold) error { return h.release(ctx) }) // the error says more
		}
	}()
	if err := l.takeFree(ctx, g, opts, keys); err != nil {
		return nil, err
	}
	for i, key := range keys[len(g.holds):] {
		with := opts
		if i < len(keys)-1 { // the last one reads
			with = append(slices.Clip(opts), func(r *request) { r.reads = nil })
		}
		h, err := l.Acquire(ctx, key, with...)
		if err != nil {
			return nil, err
		}
		g.holds = append(g.holds, h)
	}
	h, err := g.bind()
	if err != nil {
		return nil, &Error{Op: "acquire", Key: h.names(), Err: err}
	}
	bound = true
	return h, nil
}

func (l *Locker) admitAll(ctx context.Context, keys []keyspace.Key, opts []AcquireOption) error {
	if len(keys) == 0 {
		return &Error{Op: "acquire", Err: invalid("no keys")}
	}
	for i, key := range keys {
		_, err := l.admit(ctx, key, false, opts)
		if err == nil && i > 0 && key == keys[i-1] {
			err = invalid("the key comes twice")
		}
		if err != nil {
			return &Error{Op: "acquire", Key: key.String(), Err: err}
		}
	}
	return nil
}

// A group is the holds of one AcquireAll, in the order in which they were
// acquired. The first stands for all.
type group struct {
	holds []*Hold

	mu    sync.Mutex // held until all have their cause
	ended bool
}

// bind makes one of the holds of g.
func (g *group) bind() (*Hold, error) {
	first := g.holds[0]
	first.read = g.holds[len(g.holds)-1].read
	for _, h := range g.holds {
		h.mu.Lock()
		h.group = g
		h.mu.Unlock()
	}
	for _, h := range g.holds {
		if err := h.Err(); err != nil { // since before they were bound
			return h, err
		}
	}
	return first, nil
}

// end ends all holds of g for the cause of one, and reports whether it ended
// that one. After a release, its caller sees to all of them.
func (g *group) end(h *Hold, cause error) bool {
	g.mu.Lock()
	if g.ended {
		g.mu.Unlock()
		return false
	}
	g.ended = true
	var mine []*Hold
	for _, o := range g.holds {
		if done, _ := o.endUnless(g, cause); done {
			mine = append(mine, o)
		}
	}
	g.mu.Unlock()
	if cause == ErrReleased {
		return true
	}
	for _, o := range mine {
		if o != h {
			o.ended()
			o.claim.settle(cause, o.settle)
		}
	}
	return slices.Contains(mine, h)
}

// each calls f for all holds at once, and returns an error of one of them, if
// possible one that says that a lock was lost.
func (g *group) each(f func(*Hold) error) error {
	errs := make([]error, len(g.holds))
	var all errgroup.Group
	for i, h := range g.holds {
		all.Go(func() error { errs[i] = f(h); return nil })
	}
	_ = all.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return errors.Is(err, ErrLost) }); i >= 0 {
		return errs[i]
	}
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return errs[i]
	}
	return nil
}

// members are the holds that end with h.
func (h *Hold) members() []*Hold {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.group != nil {
		return h.group.holds
	}
	return []*Hold{h}
}

// each calls f for h and all that end with it.
func (h *Hold) each(f func(*Hold) error) error {
	h.mu.Lock()
	g := h.group
	h.mu.Unlock()
	if g != nil {
		return g.each(f)
	}
	return f(h)
}

// Tokens returns the fencing token of each lock of the hold.
func (h *Hold) Tokens() map[keyspace.Key]Token {
	all := make(map[keyspace.Key]Token)
	for _, m := range h.members() {
		all[m.Key()] = m.token
	}
	return all
}

// Fences returns a comparison for each lock of the hold, as Fence does for one.
func (h *Hold) Fences() []clientv3.Cmp {
	var all []clientv3.Cmp
	for _, m := range h.members() {
		all = append(all, m.fence())
	}
	return all
}
