// Package record is what is written in the entries of a lock's queue, and what a list of entries says. It is pure: it sends
// nothing.
//
// An entry is a key in the lock's directory that is attached to a lease; the order of create revisions is the queue. Its value is
// a [Record] in JSON. An entry with any other value is foreign: of etcd's own concurrency package, say, or of another language.
//
// # Invariants
//
//   - [Record.Encode] writes what encoding/json would, so every version of this package reads what another has written. A field
//     that is added is optional.
//   - A foreign entry counts as one that wants to hold alone.
//   - An entry holds while what those ahead of it take fits into its room, see [Claim]. So those who hold are the head of the queue.
//   - A key without a lease is no entry: nobody who waits or holds leaves one.
//
// It knows the operations that read and compare keys, but not their names, or who owns what.
package record
