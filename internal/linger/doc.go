// Package linger keeps an entry in etcd until a moment, though its lock is released: under a lease of its own, which nobody renews. So
// the entry outlives its process, and goes by itself soon after that moment.
//
// # Invariants
//
//   - An entry moves by a put over itself, so its create revision, and with it its place in the queue, stays.
//   - It moves once: the put requires that the entry is under the lease under which it joined the queue. So a put that comes late
//     changes nothing.
//   - The lease of its own ends at that moment or later.
//   - Before that moment the entry is removed by nobody here. After it, it is removed if this process lives.
//
// It does not know locks, or why an entry stays.
package linger
