package main

import "fmt"

// A goal is a row of the table of what elock wants to reach.
type goal struct {
	work, against string
	of            point
	by            point // zero: the figure of of stands by itself
	most          bool  // the bound is the greatest allowed, not the least wanted
	bound         float64
	unit          string // of the bound; "" for a ratio
	means         string // what is compared
}

const (
	distinct256 = "Distinct/goroutines=256/impl="
	peers256    = "PeersDistinct/goroutines=256/impl="
	held100k    = "Held/held=100000/impl=elock"
)

var goals = []goal{
	{
		work: "one goroutine, uncontended", against: "two sequential raw writes",
		of:   point{"Turns/work=pair/impl=elock", "x-limit"},
		most: true, bound: 1.10, means: "latency of a lock and unlock, in turns",
	},
	{
		work: "one goroutine, uncontended", against: "two transactions of one comparison",
		of: point{"Turns/work=pair/impl=elock", "x-limit"}, by: point{"Turns/work=pair/impl=txn+txn", "x-limit"},
		most: true, bound: 1.10, means: "latency of a lock and unlock, in turns",
	},
	{
		work: "one goroutine, uncontended, released in the background", against: "two sequential raw writes",
		of:   point{"Turns/work=pair/impl=elock-background", "x-limit"},
		most: true, bound: 0.6, means: "latency of a lock and unlock, in turns",
	},
	{
		work: "256 goroutines, distinct keys", against: "`concurrency.Mutex`, shared session",
		of: point{distinct256 + "elock", "locks/s"}, by: point{distinct256 + "mutex", "locks/s"},
		bound: 4, means: "throughput",
	},
	{
		work: "256 goroutines, distinct keys", against: "a session per lock",
		of: point{distinct256 + "elock", "locks/s"}, by: point{distinct256 + "session-per-lock", "locks/s"},
		bound: 20, means: "throughput",
	},
	{
		work: "256 goroutines, distinct keys", against: "redislock, `appendfsync always`",
		of: point{peers256 + "elock", "locks/s"}, by: point{peers256 + "redislock+fsync", "locks/s"},
		bound: 1, means: "throughput",
	},
	{
		work: "256 goroutines, distinct keys", against: "redsync, `appendfsync always`",
		of: point{peers256 + "elock", "locks/s"}, by: point{peers256 + "redsync+fsync", "locks/s"},
		bound: 1, means: "throughput",
	},
	{
		work: "hot key, 2 clients", against: "`concurrency.Mutex`",
		of: point{"Hot/clients=2/impl=elock", "handovers/s"}, by: point{"Hot/clients=2/impl=mutex", "handovers/s"},
		bound: 25, means: "hand-overs per second",
	},
	{
		work: "hot key, 4 clients", against: "`concurrency.Mutex`",
		of: point{"Hot/clients=4/impl=elock", "handovers/s"}, by: point{"Hot/clients=4/impl=mutex", "handovers/s"},
		bound: 14, means: "hand-overs per second",
	},
	{
		work: "hot key, 16 clients", against: "`concurrency.Mutex`",
		of: point{"Hot/clients=16/impl=elock", "handovers/s"}, by: point{"Hot/clients=16/impl=mutex", "handovers/s"},
		bound: 6, means: "hand-overs per second",
	},
	{
		work: "hot key, 16 clients", against: "one commit and one watch notice",
		of: point{"Hot/clients=16/impl=elock", "handovers/s"}, by: point{"Hot/clients=16/impl=write+notice", "handovers/s"},
		bound: 0.6, means: "hand-overs per second",
	},
	{
		work: "hot key, 64 clients", against: "8 clients",
		of: point{"Hot/clients=64/impl=elock", "handovers/s"}, by: point{"Hot/clients=8/impl=elock", "handovers/s"},
		bound: 0.9, means: "hand-overs per second",
	},
	{
		work: "hot key, 200 clients", against: "8 clients",
		of: point{"Hot/clients=200/impl=elock", "handovers/s"}, by: point{"Hot/clients=8/impl=elock", "handovers/s"},
		bound: 0.8, means: "hand-overs per second",
	},
	{
		work: "hot key, 2 clients, one waits", against: "one commit and one watch notice",
		of:   point{"Turns/work=handover/impl=elock", "x-limit"},
		most: true, bound: 1.5, means: "latency of a hand-over, in turns",
	},
	{
		work: "hot key, 2 clients without a pause", against: "one commit and one watch notice",
		of: point{"Hot/clients=2/impl=elock", "handover-p50-sec"}, by: point{"Hot/clients=2/impl=write+notice", "handover-p50-sec"},
		most: true, bound: 1.5, means: "latency of a hand-over, median",
	},
	{
		work: "hot key, 64 goroutines, one process", against: "`concurrency.Mutex`, session each",
		of: point{"HotLocal/goroutines=64/impl=elock", "locks/s"}, by: point{"HotLocal/goroutines=64/impl=mutex-each", "locks/s"},
		bound: 200, means: "throughput",
	},
	{
		work: "repeat acquire with retain, one goroutine", against: "`concurrency.Mutex`, uncontended",
		of: point{"Pair/impl=mutex", "sec/op"}, by: point{"Pair/impl=elock-retain", "sec/op"},
		bound: 500, means: "throughput",
	},
	{
		work: "repeat acquire with retain, one goroutine",
		of:   point{"Pair/impl=elock-retain", "sent/lock"},
		// A keep-alive each 5 s is none of the lock's.
		most: true, bound: 0.001, unit: "sent/lock", means: "messages to etcd for each lock",
	},
	{
		work: "updates of one goroutine, retained", against: "`concurrency.Mutex`, Get and Put",
		of: point{"Update/values=own/goroutines=1/impl=elock-retain", "locks/s"}, by: point{"Update/values=own/goroutines=1/impl=mutex+get+put", "locks/s"},
		bound: 3.3, means: "throughput",
	},
	alone("own", 1, "stm", "`concurrency.NewSTM`", 0.97),
	alone("own", 64, "stm", "`concurrency.NewSTM`", 1.5),
	alone("one", 64, "elock", "`Update` without", 0.9),
	update("one", 1), update("one", 16), update("one", 64), update("own", 1), update("own", 16), update("own", 64),
	{
		work: "100,000 locks held", against: "10 held",
		of: point{held100k, "sec/op"}, by: point{"Held/held=10/impl=elock", "sec/op"},
		most: true, bound: 1.1, means: "latency of a lock and unlock",
	},
	{
		work: "100,000 locks held",
		of:   point{held100k, "heap-B/hold"},
		most: true, bound: 1536, unit: "heap-B/hold", means: "memory for each hold",
	},
	{
		work: "100,000 locks held",
		of:   point{held100k, "goroutines"},
		// None for each: eight of them are watched one by one, and all others together.
		most: true, bound: 50, unit: "goroutines", means: "goroutines of all holds together",
	},
	{
		work: "1,000 Lockers idle, TTL 15 s",
		of:   point{"Idle/lockers=1000/impl=elock", "idle-sent/s/locker"},
		most: true, bound: 0.25, unit: "idle-sent/s/locker", means: "messages to etcd a second, of each",
	},
	{
		work: "a million keys used once: the last 10,000", against: "the first 10,000",
		of:   point{"Keys/keys=1000000/impl=elock", "x-first"},
		most: true, bound: 1.2, means: "latency of a lock and unlock, median",
	},
	{
		work: "a million keys used once: the end", against: "the begin",
		of: point{"Keys/keys=1000000/impl=elock", "heap-end-B"}, by: point{"Keys/keys=1000000/impl=elock", "heap-begin-B"},
		most: true, bound: 1.1, means: "memory of the process",
	},
}

// update is the goal for updates of one value, or of one's own.
func update(values string, goroutines int) goal {
	at := fmt.Sprintf("Update/values=%s/goroutines=%d/impl=", values, goroutines)
	return goal{
		work: fmt.Sprintf("updates, goroutines: %d, of %s value", goroutines, values), against: "`concurrency.Mutex`, Get and Put",
		of: point{at + "elock", "locks/s"}, by: point{at + "mutex+get+put", "locks/s"},
		bound: 2, means: "throughput",
	}
}

// alone is the goal for updates with guard.Optimistic, against another implementation.
func alone(values string, goroutines int, impl, against string, bound float64) goal {
	at := fmt.Sprintf("Update/values=%s/goroutines=%d/impl=", values, goroutines)
	return goal{
		work: fmt.Sprintf("updates with `Optimistic`, goroutines: %d, of %s value", goroutines, values), against: against,
		of: point{at + "elock-optimistic", "locks/s"}, by: point{at + impl, "locks/s"},
		bound: bound, means: "throughput",
	}
}

// reached is how far a goal was reached.
func (g goal) reached(rs *results) (figure, bool) {
	if g.by == (point{}) {
		return rs.of(g.of)
	}
	return rs.ratio(g.of, g.by)
}

func (g goal) holds(f figure) bool {
	if g.most {
		return f.median <= g.bound
	}
	return f.median >= g.bound
}
