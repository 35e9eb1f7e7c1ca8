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
// # Failure
//
// Every method that fails returns an [*Error]; errors.Is finds the reason in
// it. A write whose answer was lost is looked up, and then adopted or undone.
// What cannot be undone while etcd is out of reach is undone in the background;
// until then only acquires of the same key by the same Locker wait for it. No
// call waits longer than half a second after its context is done; the part of
// Shutdown that closes takes what Close may take.
//
// # The way of a lock through the code
//
// acquire.go takes the key's lane in this process (queue.go), then a lease that
// is shared by all locks of one TTL (lease.go, leases.go), and then the place in
// etcd (claim.go). Once first there, it becomes a hold (hold.go), which the
// monitor (monitor.go) and the sentry (sentry.go) watch. What cannot be released
// at once goes to settle.go.
package locker
