// Package queue is one entry in etcd's queue of a lock: how it joins, which place it has, how it waits for those ahead, and how it
// leaves. An entry is a key in the lock's directory, attached to a lease. The order of create revisions is the queue, and the first
// in it holds the lock.
//
// # Invariants
//
//   - An entry is put only where its name is free, and deleted only at its own create revision. So a write that comes late changes
//     no younger entry.
//   - A write without an answer leaves the entry in doubt: it is looked up, and then adopted, or removed. What may still come
//     later is looked for, see package latewrite.
//   - An announcement is put only over the record that was put last, so one that comes late changes nothing.
//   - Sent is true whenever something of the entry may be in etcd.
//   - An entry is the first only as of a revision at which it was there. What a watch may have missed is read again.
//   - Those who share the lock are not ahead of each other, nor are those who hold slots ahead of one that finds some.
//
// An entry belongs to one goroutine at a time; a [Set] is safe for concurrent use. This package does not know holds, lanes, hooks,
// or why an entry stays or goes.
package queue
