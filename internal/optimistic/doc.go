// Package optimistic commits to a value without its lock, while nobody is in the lock's queue. It knows no holds, and not what a
// value means.
//
// # Invariants
//
//   - An [Attempt] has the lane of its key, so the goroutines of a process do not compete: all others wait, or take the lock.
//   - A commit is one transaction, which requires that the queue is empty and that the value has the mod revision that the attempt
//     knows. So it never comes between the grant of a lock and its release, and of two commits to one version one is carried out.
//   - A value that is not there is not made without the lock.
//   - What is known without a read may be old. It is forgotten when it proves to be: the next attempt reads. It is trusted again
//     once an attempt has found what this process had written.
//   - After [InDoubt] the transaction was carried out, or may yet be, while the value has the mod revision that it requires.
package optimistic
