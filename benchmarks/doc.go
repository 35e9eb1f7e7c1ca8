// Package benchmarks compares elock with what else takes locks in etcd, and with the limits: what no lock can be faster than.
//
//	go test -run '^$' -bench . ./benchmarks                                # everything, some ten minutes
//	go test -run '^$' -bench Keys -benchtime 1x ./benchmarks -scale 1      # what grows, as large as in the report
//	go test -run '^$' -bench Distinct -count 5 ./benchmarks | tee new.txt  # one of them
//	benchstat -col /impl new.txt                                           # implementations beside each other (golang.org/x/perf/cmd/benchstat)
//
// Each benchmark starts an etcd of its own, of one member on this machine, that waits for the disk as a real one does.
// ELOCK_TEST_ENDPOINTS=host:port,… names another to use. Clients and etcd share the processor, as they do not elsewhere: a
// figure says little by itself, and the ratio of two from one run says more. With -benchtime 1x everything is only seen to
// work, in a minute.
//
// # Implementations
//
// Each has a line in bench_test.go. One process is one client, with:
//
//	elock             a Locker, which all goroutines share
//	elock-unbatched   WithoutBatching: each transaction goes alone
//	elock-nohandoff   WithHandoff(0): no lock passes from goroutine to goroutine without etcd
//	elock-retain      WithRetain(time.Minute): a released lock stays with the process until another wants it
//	elock-background  WithReleaseInBackground, by Hold.Run: an unlock does not wait for its release. Each lock is of another of 8 keys, as a
//	                  goroutine that takes the same key again waits for its own release, or is handed the lock: so does -same
//	elock-shared      in Hot: one process wants the key alone, and all others share it
//	elock-processes   in Hot: each process is one of the system, and not a client of the one that tests; so with
//	                  write+notice and elock-shared
//	elock-classic     by the calls of the classic library: Lock and Unlock
//	mutex             concurrency.Mutex with one session; where its goroutines want the same key, it does not lock
//	mutex-each        concurrency.Mutex with a session for each goroutine
//	sync+mutex        concurrency.Mutex with one session, and a sync.Mutex for each key before it
//	session-per-lock  concurrency.Mutex with a new session for every lock, as the original ELocker has
//
// and in Update, where a number in etcd is added to:
//
//	elock             guard.Update of a guard.Stored number
//	elock-retain      the same, WithRetain(time.Minute)
//	mutex+get+put     by hand under a concurrency.Mutex, with a session for each goroutine where they want the same number
//	elock-optimistic  the same with guard.Optimistic
//	stm               concurrency.NewSTM: no lock, tried again until nobody came between
//
// and in Slots, of which there are 8 for 64 goroutines:
//
//	elock             the option locker.Slots
//	count+put         by hand: count the keys, put one's own if there is room and nobody came meanwhile, and else watch for a deletion
//	count+put-1ms     the same, asking again after some 1 ms instead of watching, as clients of Redis do; so with 10ms
//
// and the limits, which do not lock at all or need no etcd:
//
//	put+delete        a put and a delete, one after the other, for each lock and unlock; a get for a try
//	txn+txn           the same in transactions that compare the create revision, so that none hits a younger key
//	batches           the same again, in two transactions of many keys at a time: what sharing commits can reach
//	write+notice      a put in one process, and the notice of a watch in another, for each hand-over
//	sync.Mutex        of this process
//
// # Work
//
// Pair is one goroutine that locks and unlocks one key; in Distinct each has its own. Turns does what Pair does, and hands a
// lock over to a client that waits, in turns with the limit: what else the machine does happens to both. In Hot several
// processes, and in HotLocal the goroutines of one, want the same key. Zipf is between: a few keys are wanted by many. In
// Slots several hold the same key at once. In Update each turn is an update of a number. Try tries a lock that is held. Held holds
// many locks, and locks another beside them. Cluster has three members instead of one, and Far a network that takes 2 ms for each
// round trip.
//
// Four ask what grows. Queue has many processes in the queue of one key, Keys uses each of many keys once, Waiters has many
// goroutines that wait for a key each, and Idle many processes that hold a lock each. Their sizes are the report's times the
// flag -scale, which is 0.1 unless it is given. ClusterApart has 2 ms between the members.
//
// Where many goroutines work, the clock begins once each has done two rounds, while all go on. It stops before the first of them has
// nothing left to do.
//
// Nobody does anything under a lock but look whether somebody else is there too, which would fail the benchmark. Keys are
// used again and again, as etcd's index grows with every new one; but for Keys, where etcd compacts its history every second.
//
// # Figures
//
//	locks/s           locks and unlocks, of all goroutines together
//	handovers/s       changes of holder: less than locks/s where a holder gets the lock again before others do
//	handover-p50-ns   from the begin of a release until the next holder has the lock, if that is another one; so with p99
//	limit-ns, x-limit in Turns: what the limit took, put+delete or write+notice, and how many times that ns/op is. All three are
//	                  medians: of turns in a pair, where x-limit is that of the ratios of each turn, and of hand-overs
//	p50-ns, p99-ns    from the begin of a lock, with the wait, to the end of the unlock
//	sent/lock, /try   messages to etcd, among them those of watches and keep-alives
//	heap-B/hold       memory of a lock that is held; goroutines are those of all of them together
//	enter-ns, leave-ns in Queue and Waiters: until all wait, and until all have had the lock, for each of them; so with sent/enter
//	first-p50-ns, last-p50-ns, x-first in Keys: of the first and of the last 10,000 locks, and how many times the first the last is
//	heap-begin-B      memory of the process, etcd- of etcd's process, db- its file; so with end
//	memory-B/waiter   heap and stacks; so with /locker
//	idle-sent/s       messages while locks are held and nobody does anything, from their third second on
//
// The nested module peers does the work of Distinct and Hot with locks in Redis too, and report runs all of it several times
// and writes RESULTS.md.
package benchmarks
