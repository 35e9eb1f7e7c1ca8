package locker

// maxSlots bounds what an acquire reads: the entries of all who are ahead, up to so many.
const maxSlots = 10_000

// Slots makes an acquire take one of n slots of the lock: up to n hold together, over all
// processes. It is a counting semaphore. A slot is an entry in etcd under a lease, and no
// counter, so slots come back when a process dies, as locks do.
//
// Callers have their turn in the order of arrival. Behind one that waits for several slots,
// see Weight, others wait as well, though there may be enough for them: so it is not kept out.
// A process passes a slot among its goroutines for the time of WithHandoff, as it does a lock.
//
// All callers should name the same n. Those who name another one, and those without this option,
// hold at other times: no hold of theirs overlaps one of these.
//
// The token is greater than those of all who held earlier alone, shared or with another n, and less
// than those of all who will; among holds with the same n it says nothing. A Fence holds until this
// hold is released, and others' hold at the same time; so it is with Commit.
//
// A TryAcquire that comes together with another caller may queue for a moment, to see whether there
// is a slot for it, and leaves nothing.
//
// n is 10,000 at most. Slots with Shared, Announcing or AtLeast is
// ErrInvalidOption. Slots are not retained.
func Slots(n int) AcquireOption {
	return func(r *request) {
		if n < 1 || n > maxSlots {
			r.err = invalid("%d slots; want 1 to %d", n, maxSlots)
		}
		r.Slots = n
	}
}

// Weight makes an acquire with Slots take w of them instead of one, all at once. If w is greater than
// n, or without Slots, it is ErrInvalidOption.
func Weight(w int) AcquireOption {
	return func(r *request) {
		if w < 1 {
			r.err = invalid("weight %d; want at least 1", w)
		}
		r.Weight = w
	}
}
