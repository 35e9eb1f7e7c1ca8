// Package outcome finds out what became of a transaction whose answer is lost: one that the owner of an entry has sent, and that
// also deletes the entry or puts its record again.
//
// It first deletes the entry, if that is still there: after that the transaction cannot be carried out any more. Then etcd's past
// shows the entry's end, and what the keys were that the transaction was to write at that moment.
//
// # Invariants
//
//   - "Done" and "not done" are said only where etcd shows it. Otherwise the outcome is unknown.
//   - Nothing is said while the transaction may still be carried out.
//   - What is not known because etcd is silent is asked again until the context or the lease ends.
//
// It does not know holds, or what a transaction is for.
package outcome
