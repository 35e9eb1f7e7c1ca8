// Package retain lets an entry stay in the queue of its lock while nobody in this process holds that, and gives it up when another
// process queues, after a while, and when the process ends.
//
// The record of such an entry says that it may only be retained: a try elsewhere then queues, and so asks for the lock.
//
// # Invariants
//
//   - An entry is retained only after etcd has said that its record tells so, and that nobody else was in the queue.
//   - From then on, whoever queues is seen: by a watch that has missed nothing since that moment, or else by another write of the
//     record, which looks at the queue, once a watch is back.
//   - A hold begins without contacting etcd only while a watch works, or for the time of [Config.Trust] after it was lost.
//   - A record is put only in place of the one that was put last, so never over the mark of an eviction. One goroutine puts it at a
//     time, see [Retention.Lock].
//   - A Set retains 1024 entries at most. Each costs a watch and a goroutine until it is given up.
//
// It does not know who holds the lock, or how an entry is given up: a callback does that, unless somebody holds it.
package retain
