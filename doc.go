// Package elock is the classic library ELocker: distributed locks in etcd by
// string keys. New code uses the packages beside it:
//
//   - [github.com/phpgao/elock/keyspace] names locks: a Key, and a Space for
//     each kind of thing that is locked.
//   - [github.com/phpgao/elock/locker] is the lock: it acquires, keeps, watches
//     and releases, and tells when and why a lock was lost.
//   - [github.com/phpgao/elock/guard] binds a resource of type T to its lock: a
//     value in etcd or elsewhere that is updated only while the lock is held, or
//     functions that return (T, error).
//   - [github.com/phpgao/elock/once] runs a job once for each tick, on however many
//     nodes it is scheduled.
//   - [github.com/phpgao/elock/election] has one of several processes lead, and tells
//     all of them who.
//   - [github.com/phpgao/elock/locker/lockertest] is a locker for tests, without
//     etcd.
//   - [github.com/phpgao/elock/otelhook] is a hook that makes spans and metrics
//     of acquires, holds and timeouts.
//
// [ELocker] is built on package locker. Code written for the original needs no
// other import. Its calls are Lock, Unlock, RunFuncInLock, RunJobInLock and Close;
// keys are strings, TTLs are seconds, and nothing waits for a lock that is held:
//
//	l := elock.NewELocker(client)
//	defer l.Close()
//	ran, err := l.RunFuncInLock(ctx, "nightly-report", 10, report)
//
// Locks of all packages exclude each other: the string "billing/42" and
// keyspace.MustParse("billing/42") are one lock. [ELocker.Locker] is the Locker
// under an ELocker.
package elock
