// Package batch is group commit over etcd: it sends transactions about different locks together. It knows no leases, no queues
// and no holds; a transaction has a key, comparisons and operations.
//
// While nothing is on its way, a transaction goes at once and alone. Otherwise it waits for the end of one that is on its way, and
// goes with all others that have come meanwhile, as one transaction of etcd, which costs about as much as one of theirs.
//
// One that is patient goes with the next one that is not. It waits for that while anything is on its way, and for half a
// millisecond more. Sent at once, it would be written to etcd's log before the next one, which would have to wait for that.
//
// Transactions that expect to succeed are merged: their comparisons and operations become parts of one flat transaction. If any
// comparison fails, that does nothing, and all go again as nested transactions, which cost more.
//
// # Invariants
//
//   - A batch has one transaction for each key at most, in the order in which they came.
//   - Two batches of a generation are on their way at once, at most. Who waits, waits for [maxWait] at most: then the batches on
//     their way become an earlier generation, which is not waited for.
//   - Every request gets one answer: its own, as if it had gone alone. What one of them makes etcd reject is sent again in
//     halves, so that it fails alone; its key goes alone for a second.
//   - An error for which [NotApplied] is false leaves the outcome open: etcd may have carried out the transaction, or may yet.
//   - A batch is cancelled when nobody waits for it any more, and only then.
package batch
