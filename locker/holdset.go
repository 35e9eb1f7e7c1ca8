package locker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/phpgao/elock/keyspace"
)

// A HoldSet is several locks that are held as one. It ends as a whole: when one of
// its locks is lost, all end for that reason, and the other locks are freed. Its
// methods may be called from several goroutines. Each is what Hold has under that
// name, unless it says more.
type HoldSet struct {
	holds []*Hold // in the order in which they were acquired; the first stands for all

	mu    sync.Mutex // guards what follows. bind and end hold it throughout, so nobody sees a set that is half bound or half ended.
	bound bool
	ended bool
}

// HoldSetFrom returns the innermost HoldSet whose context, or whose function's
// context, ctx is or descends from. It may have ended.
func HoldSetFrom(ctx context.Context) (*HoldSet, bool) {
	for h := innermost(ctx); h != nil; h = h.outer {
		if s := h.ofSet(); s != nil {
			return s, true
		}
	}
	return nil, false
}

// String returns the names of the locks and their tokens.
func (s *HoldSet) String() string {
	all := make([]string, len(s.holds))
	for i, h := range s.holds {
		all[i] = h.String()
	}
	return strings.Join(all, ", ")
}

// Context returns a context that is done when the holds end for any reason, which
// context.Cause gives.
func (s *HoldSet) Context() context.Context { return s.holds[0].Context() }

// Err returns nil while all locks are held, and otherwise the cause of Context.
func (s *HoldSet) Err() error { return s.holds[0].Err() }

// Remaining returns how long all locks stay held if etcd is not heard of any more.
func (s *HoldSet) Remaining() time.Duration { return s.holds[0].Remaining() }

// Shared reports whether the locks were acquired with the option Shared.
func (s *HoldSet) Shared() bool { return s.holds[0].Shared() }

// Slots returns n if the locks were acquired with the option Slots(n), otherwise 0.
func (s *HoldSet) Slots() int { return s.holds[0].Slots() }

// Read returns what ReadKeys asked for, as it was when all locks were held.
func (s *HoldSet) Read() []*mvccpb.KeyValue { return s.holds[0].Read() }

// Tokens returns the fencing token of each lock.
func (s *HoldSet) Tokens() map[keyspace.Key]Token {
	all := make(map[keyspace.Key]Token, len(s.holds))
	for _, h := range s.holds {
		all[h.Key()] = h.token
	}
	return all
}

// Fences returns a comparison for each lock, as Hold.Fence does for one.
func (s *HoldSet) Fences() []clientv3.Cmp {
	all := make([]clientv3.Cmp, len(s.holds))
	for i, h := range s.holds {
		all[i] = h.Fence()
	}
	return all
}

// Commit carries out ops and releases all locks in one transaction of etcd, which
// requires that every one of the locks is still held.
func (s *HoldSet) Commit(ctx context.Context, cmps []clientv3.Cmp, ops ...clientv3.Op) (bool, error) {
	return s.holds[0].Commit(ctx, cmps, ops...)
}

// Run calls fn and releases all locks when fn returns, panics or calls
// runtime.Goexit.
func (s *HoldSet) Run(fn func(ctx context.Context, s *HoldSet) error) error {
	if fn == nil {
		return s.holds[0].run(nil)
	}
	return s.holds[0].run(func(ctx context.Context) error { return fn(ctx, s) })
}

// Release ends the holds and frees all locks. Release of a nil HoldSet does
// nothing.
func (s *HoldSet) Release(ctx context.Context) error {
	if s == nil {
		return nil
	}
	return s.holds[0].Release(ctx)
}

// bind makes one of the holds of s, or returns why one of them has ended.
func (s *HoldSet) bind() error {
	s.holds[0].read = s.holds[len(s.holds)-1].read
	s.mu.Lock()
	for _, h := range s.holds {
		h.mu.Lock()
		h.set = s
		h.mu.Unlock()
	}
	s.bound = true
	s.mu.Unlock()
	for _, h := range s.holds {
		if err := h.Err(); err != nil { // since before they were bound
			return err
		}
	}
	return nil
}

// end ends all holds of s for the cause of one, as Hold.end does for that one.
// After a release, its caller sees to all of them, and there are no others. If that one
// ended before it was bound, AcquireAll is about to release them.
func (s *HoldSet) end(h *Hold, cause error) (done bool, others []*Hold) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || cause != ErrReleased && h.endCause() != nil {
		return false, nil
	}
	s.ended = true
	for _, o := range s.holds {
		switch ended, _ := o.endUnless(s, cause); {
		case o == h:
			done = ended
		case ended:
			others = append(others, o)
			if cause != ErrClosed { // else Close keeps it
				o.owe()
			}
		}
	}
	if cause == ErrReleased {
		return true, nil
	}
	return done, others
}

// each calls f for all holds at once, and returns an error of one of them, if
// possible one that says that a lock was lost.
func (s *HoldSet) each(f func(*Hold) error) error {
	if len(s.holds) == 1 {
		return f(s.holds[0])
	}
	errs := make([]error, len(s.holds))
	var all errgroup.Group
	for i, h := range s.holds {
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

// ofSet returns the set that h is of, or nil.
func (h *Hold) ofSet() *HoldSet {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.set
}

// members are the holds that end with h.
func (h *Hold) members() []*Hold {
	if s := h.ofSet(); s != nil {
		return s.holds
	}
	return []*Hold{h}
}

// each calls f for h and all that end with it.
func (h *Hold) each(f func(*Hold) error) error {
	if s := h.ofSet(); s != nil {
		return s.each(f)
	}
	return f(h)
}
