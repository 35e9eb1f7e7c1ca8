// Package renewal carries the renewals of leases to etcd, and their answers
// back. It does not know when to renew, nor what an answer means for a lease.
//
// A [Line] has one stream, which takes the renewals of all leases. When an
// answer is overdue a second stream takes its place, to another member if there
// is one; the first stays until that happens again, as answers that come late
// count. Without streams each renewal is a call of its own.
//
// # Invariants
//
//   - A renewal gets one answer or error at most, and with it the time at which
//     it was sent. One that is sent again gets those of the last time.
//   - An answer of a lease that was not asked for is dropped.
//   - Streams that break at once are opened with growing pauses, up to a second.
package renewal
