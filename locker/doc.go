// Package locker takes, keeps, watches and releases distributed locks in etcd.
//
// [New] makes a [Locker] from an etcd client. [Locker.Acquire] waits for a lock
// and returns a [Hold]; [Locker.TryAcquire] fails with [ErrLocked] instead of
// waiting; [Locker.RunInLock] runs a function under a lock and releases it.
//
// # What a hold promises
//
// At most one hold of a key is alive at a time, over all processes. A hold ends
// when it is released, when it was lost, when the monitor finds that it lasted
// too long, or when the Locker is closed. [Hold.Context] is done from then on,
// and context.Cause says why. When etcd cannot be reached, that happens before
// the lease can expire, and so before anyone else can get the lock: the
// deadline counts from before the last answered renewal was sent, comes a tenth
// of the TTL early, and is kept on the monotonic and the wall clock.
//
// No lock service can stop a process that is paused between a look at the clock
// and a write. For that there is [Hold.Token], which the written resource can
// compare, and [Hold.Fence], for writes to etcd itself.
//
// # More than one
//
// [Shared] holds of a key are held together, up to n of [Slots](n) are, and [Locker.AcquireAll] holds
// several keys as one [HoldSet]. [ReadKeys] and [Hold.Commit] carry what the lock guards:
// the first reads it in the transaction that acquires, the second writes it in
// the one that releases, if the lock is still held.
//
// # Failure
//
// Every method that fails returns an [*Error]; errors.Is finds the reason in
// it. A write whose answer was lost is looked up, and then adopted or undone.
// What cannot be undone while etcd is out of reach is undone in the background;
// until then only acquires of the same key by the same Locker wait for it. No
// call waits longer than half a second after its context is done; the part of
// Shutdown that closes takes what Close may take.
//
// Each call to etcd has a patience: 1, 1, 1, 2, 4, then 5 seconds. After it, and
// after an error that passes by itself, such as a change of leader, the call is
// sent again until the context ends, with pauses from 20ms to 1 second. An
// acquire fails with [ErrLocked] where others were ahead, and with
// [ErrUnavailable] where etcd did not answer.
//
// # What goes to etcd
//
// An uncontended Acquire and its Release are a write each, and so is a wait's
// end by another process, which a watch reports. While a write is on its way,
// those of other locks gather, and go as one. Goroutines of one process that
// wait for the same lock pass it to each other without contacting etcd, until
// other processes must have their turn ([WithHandoff]). With [WithRetain] a lock
// that no other process wants needs etcd neither to be released nor to be acquired
// again. With [WithReleaseInBackground] nobody waits for the release after a function.
//
// Up to 64 locks share a lease, and all leases of a Locker are renewed over one
// gRPC stream. The keys of holds older than a second are watched over another.
// Where the client's Lease or Watcher is not etcd's own, calls go through it
// instead. The outgoing gRPC metadata of a caller's context is not sent.
//
// # The way of a lock through the code
//
// acquire.go checks what is asked for, and tells the hooks (attempt.go). internal/entry takes
// the key's lane in this process (internal/lane), then a lease that several locks share
// (leases.go, internal/lease), and then an entry in etcd's queue (internal/queue), which waits
// for those ahead (internal/place). Then it becomes a hold (hold.go). internal/index
// has all holds; the monitor (monitor.go) and internal/losswatch watch them, loss.go
// ends those that are lost, and ending.go says how. A release (release.go) has the entry
// pass on, be retained, go to the end of the queue for the next goroutine, or be
// deleted (internal/entry), perhaps in a transaction of its owner
// (plan.go, commit.go, internal/outcome). What cannot be released at once is settled
// in the background; background.go has the release go there from the start. Shared holds meet in the lane; holds with Slots have a
// seat in it, and an entry, each. all.go
// acquires several locks, free.go at once if it can, and holdset.go binds them together.
//
// Calls to etcd go through internal/calls, which sends them again within bounds, and
// internal/batch, which sends them together. hooks.go runs hooks, which may panic or be
// slow (internal/callback). docs/architecture.md has all of this in pictures.
package locker
