package locker

// Shared makes an acquire share the lock with others that do: they hold it
// together, and those without it hold it alone. Both have their turn in the
// order of arrival, so neither kind can keep out the other: a reader queues behind
// a waiting writer, after at most 10ms in which its process may not have seen the
// writer.
//
// Callers of one process that share at the same time have one entry in etcd,
// with the TTL of the first of them. Each has a Hold of its own and a token of
// its own. The token is greater than those of all who held alone before, and
// less than those of all who will; among holds that share at the same time it
// says nothing. A Fence holds for as long as nobody can hold alone, even after
// the release of its own hold if others of the process still share. Commit is not
// for shared holds.
func Shared() AcquireOption {
	return func(r *request) { r.Shared = true }
}
