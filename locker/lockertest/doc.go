// Package lockertest gives tests a Locker that needs no etcd: no server, no
// network, nothing to install.
//
// [New] returns a [locker.Locker] whose etcd is a model in memory, behind
// etcd's own client code. It is empty, belongs to the test, and is closed when
// the test ends. [NewPair] returns the Lockers of two processes that compete
// for the same locks.
//
// # Virtual time
//
// Inside a testing/synctest bubble all of it runs in virtual time: TTLs,
// renewals, the monitor. An hour under a lock takes a moment, and a day a second
// or two. Call New inside the bubble: the Go runtime ends a test whose bubble
// meets a Locker from outside ("called from inside and outside synctest bubble").
// This is a test of what code does when it
// loses its lock in the middle of its work:
//
//	var index = keyspace.MustNew[string]("index")
//
//	// Rebuild rebuilds an index, a page a second, and returns how many pages it did.
//	func Rebuild(ctx context.Context, l *locker.Locker, name string, pages int) (int, error) {
//		g := guard.New[int](l, index.Key(name))
//		return g.Run(ctx, func(ctx context.Context, _ *locker.Hold) (int, error) {
//			for done := range pages {
//				select {
//				case <-time.After(time.Second):
//				case <-ctx.Done():
//					return done, context.Cause(ctx)
//				}
//			}
//			return pages, nil
//		})
//	}
//
//	func TestRebuildStopsWhenItsLockIsLost(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			l := lockertest.New(t)
//			time.AfterFunc(10*time.Minute, func() { lockertest.Lose(l, index.Key("products")) })
//			done, err := Rebuild(t.Context(), l, "products", 3600)
//			if !errors.Is(err, locker.ErrLost) {
//				t.Errorf("got error %v, want %v", err, locker.ErrLost)
//			}
//			if done < 599 || done > 601 {
//				t.Errorf("did %d pages, want those of 10 minutes", done)
//			}
//		})
//	}
//
// A Locker looks at the clock for as long as it lives. So a bubble that waits
// for what never comes is not reported as a deadlock; it runs until the
// -timeout of go test.
//
// # How to lose a lock
//
// Each way ends the hold with another reason, which [locker.LostError] tells:
//
//	lockertest.Lose(l, key)        ReasonKeyDeleted    this lock, at any moment
//	lockertest.Expire(l)           ReasonLeaseExpired  every lock of l
//	l.Evict(ctx, key)              ReasonEvicted       as an operator would do it
//	lockertest.Disconnect(l)       ReasonDeadline      every lock of l, nine tenths of the TTL after its last renewal
//
// The first three act at once: from then on others get the lock. The holder is
// told as by a real etcd: at once by a watch, or some 2 seconds after its grant,
// when it first looks. Until then its context is alive and Err is nil. That gap
// is there for a test to look into: code that writes in it must be stopped by
// its token, or by the comparison of [locker.Hold.Fence].
//
// # How to be slow
//
// With [SetDelay], etcd takes that long to answer l. A delay of more than 5
// seconds is more than a Locker waits for: see [locker.ErrUnavailable].
//
// # How to be unreachable
//
// After [Disconnect], l hears nothing of etcd any more: calls wait until their
// context is done or the Locker's patience ends, and holds end before anybody
// else can get their locks. [Reconnect] ends that. The other of a pair notices
// nothing:
//
//	a, b := lockertest.NewPair(t)
//	h, err := a.Acquire(ctx, key)
//	lockertest.Disconnect(a)
//	next, err := b.Acquire(ctx, key) // a TTL later; h is lost by then
//
// # In real time
//
// Outside of a bubble everything works the same, in real time. [locker.WithTTL]
// with 2 seconds, the least that etcd grants, keeps such tests short.
package lockertest
