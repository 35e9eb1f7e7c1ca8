// Package calls is a client of etcd whose calls are bounded and sent again: each try has a patience, after which, or after an error
// that passes by itself, it is made again, until the caller's context ends.
//
// # Invariants
//
//   - No call waits without bound: the context of each try ends after its patience, and that of a clean-up a moment after its
//     caller's.
//   - While some member of etcd seems to swallow everything, a call that takes long is sent a second time, to another member. Then
//     the outcome of the first is open, and the caller hears of that: a write that is sent twice must do nothing the second time.
//   - Everything goes through the given client's KV and Lease; past its Lease goes only a stream of renewals, and only if that is
//     etcd's own.
//   - What a caller's context carries for gRPC is not sent: a call may be answered for several callers.
//
// It does not know what is sent, nor why.
package calls
