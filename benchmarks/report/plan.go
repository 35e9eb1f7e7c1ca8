package main

// A step is one benchmark with its sub-benchmarks.
type step struct {
	dir       string // below package benchmarks
	name      string // without Benchmark
	benchtime string // long enough that a second run says the same
	grows     bool   // with flag -scale
	about     string
}

// plan is everything, as RESULTS.md shows it.
var plan = []step{
	{".", "Pair", "1s", false, "One goroutine locks and unlocks one key. `put+delete` is two writes one after the other, " +
		"without a lock; `txn+txn` is the same in transactions that compare, so that no write hits a younger key."},
	{".", "Turns", "2s", false, "Medians of a lock and unlock, and of a hand-over to a client that waits (holds last for 2 ms), in turns with what etcd " +
		"itself takes for it: 50 puts and deletes after 50 locks and unlocks, 20 writes and notices after 20 hand-overs. So what else the " +
		"machine does happens to both."},
	{".", "Distinct", "2s", false, "One process, whose goroutines have a key each."},
	{".", "Hot", "1s", false, "Several processes, one goroutine each, that want the same key. A hand-over takes from the begin of a release " +
		"until another process has the lock. `write+notice` is the limit: one commit and one notice of a watch, without a lock. In " +
		"`elock-shared` one process wants the key alone and all others share it; hand-overs are those from it to them and back. " +
		"`-processes` have a process of the system each, and all others are goroutines of one."},
	{".", "Queue", "3x", true, "Processes that wait for one key in etcd's queue, on 20 connections: the time until all are in it, for each of them, and " +
		"then the hand-overs until each has had the lock once."},
	{".", "HotLocal", "1s", false, "One process, whose goroutines want the same key."},
	{".", "Slots", "2s", false, "64 goroutines, of one process or of eight, that want one of 8 slots of a lock. `elock` is `locker.Slots`; `count+put` counts " +
		"keys by hand and watches, or asks again after a pause."},
	{".", "Zipf", "700ms", false, "Four processes of 16 goroutines; few of the 1000 keys are wanted often, and most rarely."},
	{".", "Update", "500ms", false, "One process, whose goroutines add one to a number in etcd: all to one, or each to its own. `elock` is " +
		"`guard.Update`, `elock-optimistic` with `guard.Optimistic`; `mutex+get+put` does it by hand, and nothing stops its late writes; `stm` is `concurrency.NewSTM`, without a lock."},
	{".", "Try", "500ms", false, "A try of a lock that another process holds. `put+delete` only reads a key."},
	{".", "Held", "500ms", false, "A process that holds many locks: what they cost, and the lock and unlock of another key beside them. " +
		"`session-per-lock` has no 100,000: it takes minutes."},
	{".", "Keys", "1x", true, "One process, whose 64 goroutines use each key once. \"first\" and \"last\" are the median of 10,000 locks and unlocks, or of a " +
		"quarter if that is less. etcd's history is compacted every second, up to a second before. `put+delete` has no locks: what it " +
		"gains or loses etcd does."},
	{".", "Waiters", "1x", true, "One process with goroutines that wait for a key each, all of which another process holds: the time until all wait and, " +
		"once they are released, until all have their locks; both for each of them. Memory is heap and stacks, its goroutine's own too."},
	{".", "Idle", "1x", true, "Processes that hold a lock each, with a TTL of 15 s, and do nothing for 30 s, on 20 connections. The time is that of a " +
		"process' start with its first lock."},
	{".", "Cluster", "500ms", false, "Three members instead of one, on the same machine."},
	{".", "ClusterApart", "500ms", false, "Three members, and a network that makes each round trip between them 2 ms longer."},
	{".", "Far", "500ms", false, "A network that makes each round trip 2 ms longer."},
	{"peers", "PeersDistinct", "1s", false, "As Distinct, beside locks in Redis: as installed, and, where it says `+fsync`, with " +
		"`appendfsync always`, as durable as etcd."},
	{"peers", "PeersHot", "300ms", false, "As Hot. A lock that asks again does so as often as its library does by default or its README " +
		"says, and, where it says `-1ms`, every millisecond. It is not fair: who has just released often gets it again."},
}
