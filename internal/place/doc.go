// Package place is where an entry stands in the queue of its lock: who is ahead, and how it waits until that changes.
//
// Near the head of the queue a place knows all entries ahead, and follows them by one watch of the directory, which all who wait
// there share. Further back it knows the nearest ones, and follows only the one directly ahead, so that a release does not wake a
// long queue. As its watch begins, it reads only whether that one and it itself are still there, however long the queue is. When that
// one is gone, the place is read, unless a watch of the entry itself says that it was told its turn. One that shares the lock asks for
// more of those ahead, as most of them share it, too, and follows no more.
//
// An entry that becomes the first by such a read also learns who is directly behind it. As it leaves, it tells the next one its
// turn: in the same transaction it puts that one's record again, with a [record.Turn] that has the rest of the list. The last one of
// the list reads who is behind it while it holds the lock, and leaves when that is answered. So the entries of a long queue become the
// first one after the other, and one in 16 of them reads.
//
// # Invariants
//
//   - An entry is the first only as of a revision at which it was there and nobody was ahead.
//   - A turn is told by an entry that is the first, and goes, to the one directly behind it, if that is still as it was put. So the
//     one that is told was there at that revision, with nobody ahead; it does not look again. Nobody comes between two entries: a new one is
//     the last.
//   - Who is not told within a millisecond, as the one ahead gave up, crashed, kept the lock for AtLeast or knew nobody, reads.
//   - To hear who is behind it, an entry stays until 100 ms after its turn at most, and not longer than its caller waits.
//   - A watch is believed only for what came after it began. What it may have missed is read again.
//   - A waiter whose watch is broken, or may be, reads again after a pause that grows, up to a second; five where the watch may
//     only be unproven.
//   - Those who share the lock are not ahead of each other.
//   - One that waits for slots is as if it were the first once those ahead of it, waiting or not, leave it enough of them.
//   - An entry of this process under a lease that it gave up is ahead like any other: the caller removes it.
//
// A place belongs to one goroutine at a time. It does not know how an entry joins or leaves, or what it is for.
package place
