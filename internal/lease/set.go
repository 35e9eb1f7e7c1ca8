package lease

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/clock"
)

// Config says what a Set works with. All fields but Stream and MaxKeys must be set.
type Config struct {
	Lease  clientv3.Lease
	Stream func(context.Context) (pb.Lease_LeaseKeepAliveClient, error) // opens a stream of renewals; nil: each renewal is a call of its own

	Base   context.Context // when it ends, the Set ends, and its leases with it
	Drain  context.Context // when it ends, the Set takes no more users
	Grants context.Context // when it ends, grants that are on their way are given up

	Spawn   func(func()) bool         // runs a function on a goroutine; false if it does not, as the process ends
	Now     func() clock.Instant      // reads the clocks
	Cause   func(Loss) error          // returns the cause with which the contexts of a lost lease end
	OnLost  func(*Lease, Loss)        // is called once for each lost lease
	OnRisk  func(*Lease)              // is called when AtRisk of a lease has changed, perhaps late, and several times at once
	Silent  error                     // is the error of a grant that etcd does not answer
	KeepFor func(int64) time.Duration // returns how long a lease of so many seconds stays without a user
	Log     *slog.Logger
	MaxKeys int64 // users of a lease; 0: DefaultMaxKeys
}

// DefaultMaxKeys is how many users a lease takes.
//
// With authentication, each put under a lease costs etcd some 2 µs for each key
// that the lease has (BenchmarkHeldWithAuth in locker). A renewal is one
// message for each lease.
const DefaultMaxKeys = 64

// A Set is the leases of a process. Its methods may be called from several
// goroutines.
type Set struct {
	cfg   Config
	pools sync.Map // of *pool, by the TTL that was asked for

	mu      sync.Mutex // guards what follows, but wake
	closed  bool
	started bool     // the keeper runs
	added   []*Lease // granted, not yet seen by the keeper
	given   []*Lease // given up, but perhaps alive in etcd

	wake chan struct{} // wakes the keeper after a change of added
}

// NewSet returns a Set without a lease. It sends nothing.
func NewSet(cfg Config) *Set {
	if cfg.MaxKeys == 0 {
		cfg.MaxKeys = DefaultMaxKeys
	}
	return &Set{cfg: cfg, wake: make(chan struct{}, 1)}
}

// markLost records that s ended. It reports false if that was recorded before
// or the Set is closed.
func (t *Set) markLost(s *Lease, why Loss) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || !s.lost.CompareAndSwap(0, int32(why)) {
		return false
	}
	s.pool.remove(s)
	if why == Overdue {
		t.giveUp(s)
	}
	return true
}

// giveUp remembers a lease for Revoke and GaveUp, and forgets those that
// expired long ago. The caller holds mu.
func (t *Set) giveUp(s *Lease) {
	kept := t.given[:0]
	for _, o := range t.given {
		if o.Remaining() >= -o.ttl {
			kept = append(kept, o)
		}
	}
	clear(t.given[len(kept):])
	t.given = append(kept, s)
}

// GaveUp reports whether kv is under a lease that was given up, though it may be
// alive in etcd.
func (t *Set) GaveUp(kv *mvccpb.KeyValue) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.given {
		if int64(s.id) == kv.Lease {
			return true
		}
	}
	return false
}

// Count returns how many leases the Set has, those on their way included.
func (t *Set) Count() (n int) {
	t.pools.Range(func(_, p any) bool {
		n += p.(*pool).size()
		return true
	})
	return n
}

// Revoke ends the Set, and revokes all its leases. It returns those that may
// have outlived that, with the reason for one of them; repeated, it tries these
// again.
func (t *Set) Revoke(ctx context.Context) (left []clientv3.LeaseID, err error) {
	t.mu.Lock()
	t.closed = true
	all := t.given
	t.given = nil
	t.mu.Unlock()
	t.pools.Range(func(_, p any) bool {
		all = append(all, p.(*pool).empty()...)
		return true
	})
	t.pools.Clear()
	slices.SortFunc(all, func(a, b *Lease) int { return cmp.Compare(a.id, b.id) })

	errs := make([]error, len(all))
	var wg sync.WaitGroup
	slots := make(chan struct{}, revokesAtOnce)
	for i, s := range all {
		wg.Go(func() {
			slots <- struct{}{}
			errs[i] = t.revoke(ctx, s)
			<-slots
		})
	}
	wg.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, e := range errs {
		if e != nil {
			err = e
			left = append(left, all[i].id)
			t.given = append(t.given, all[i])
		}
	}
	return left, err
}

// revokesAtOnce bounds the revocations on their way.
const revokesAtOnce = 128
