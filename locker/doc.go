// Package locker takes, keeps, watches and releases distributed locks in etcd.
//
// [New] makes a [Locker] from an etcd client. [Locker.Acquire] waits for a lock
// and returns a [Hold]; [Locker.TryAcquire] fails with [ErrLocked] instead of
// waiting; [Locker.RunInLock] runs a function under a lock and releases it.
// [Locker.Lock], [Locker.Unlock], [Locker.RunFuncInLock] and
// [Locker.RunJobInLock] are the classic calls, keyed by a string.
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
// [Shared] holds of a key are held together, and [Locker.AcquireAll] holds
// several keys as one. [Reading] and [Hold.Commit] carry what the lock guards:
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
// # What goes to etcd
//
// An uncontended Acquire and its Release are a write each, and so is a wait's
// end by another process, of which a watch tells. While a write is on its way,
// those of other locks gather, and go as one. Goroutines of one process that
// wait for the same lock hand it on without a word to etcd, until others must
// have their turn ([WithHandoff]). With [WithRetain] a lock that nobody else
// wants needs etcd neither to be released nor to be acquired again.
//
// # The way of a lock through the code
//
// acquire.go takes the key's lane in this process (queue.go), then a lease that
// is shared by all locks of one TTL (lease.go, leases.go), and then the place in
// etcd (claim.go): its transactions (enter.go, remove.go) go by way of batch.go.
// If it is not the first there, it waits for news of those ahead (feed.go). Then
// it becomes a hold (hold.go), of which registry.go keeps account and which the
// monitor (monitor.go) and the sentry (sentry.go) watch. A release (release.go)
// hands the lock on or keeps it (keep.go), goes to the end of the queue for the
// next goroutine (requeue.go), or deletes the entry, perhaps in a transaction of
// its owner (commit.go, resolve.go). What cannot be released at once goes to
// settle.go. Those who share a lock meet in its lane (shared.go); all.go binds
// several holds together, which free.go acquires at once if it can.
package locker
