package benchmarks

import (
	"fmt"
	"testing"
	"time"

	"github.com/phpgao/elock/benchmarks/internal/work"
	"github.com/phpgao/elock/locker"
)

func TestMain(m *testing.M) { work.Main(m) }

// The implementations, as the package documentation has them.
var (
	elock          = work.Elock("elock")
	unbatched      = work.Elock("elock-unbatched", locker.WithoutBatching())
	noHandoff      = work.Elock("elock-nohandoff", locker.WithHandoff(0))
	retaining      = work.Elock("elock-retain", locker.WithRetain(time.Minute))
	background     = work.Background("elock-background", 8)
	backgroundSame = work.Background("elock-background-same", 1)
	classic        = work.Classic("elock-classic")
	mutex          = work.Mutex("mutex")
	mutexEach      = work.MutexEach("mutex-each")
	mutexBehind    = work.MutexBehindMutex("sync+mutex")
	sessionPerLock = work.SessionPerLock("session-per-lock")
	putDelete      = work.PutDelete("put+delete")
	txnTxn         = work.TxnTxn("txn+txn")
	local          = work.Local("sync.Mutex")

	guarded         = work.Guarded("elock")
	guardedRetained = work.Guarded("elock-retain", locker.WithRetain(time.Minute))
	optimistic      = work.Optimistic("elock-optimistic")
	mutexGetPut     = work.Locked("mutex+get+put", mutex)
	mutexEachGetPut = work.Locked("mutex+get+put", mutexEach)
	stm             = work.Transactional("stm")
)

func each(b *testing.B, impls []work.Impl, f func(b *testing.B, impl work.Impl)) {
	for _, impl := range impls {
		b.Run("impl="+impl.Name, func(b *testing.B) { f(b, impl) })
	}
}

// One goroutine locks and unlocks one key.
func BenchmarkPair(b *testing.B) {
	s := work.Alone(b)
	each(b, []work.Impl{elock, unbatched, retaining, background, backgroundSame, classic, mutex, sessionPerLock, putDelete, txnTxn, local}, func(b *testing.B, impl work.Impl) {
		work.Pair(b, s, impl)
	})
}

// A lock and unlock, and a hand-over to a process that waits, in turns with what etcd itself takes for it.
func BenchmarkTurns(b *testing.B) {
	s := work.Alone(b)
	b.Run("work=pair", func(b *testing.B) {
		each(b, []work.Impl{elock, unbatched, background, backgroundSame, classic, mutex, txnTxn}, func(b *testing.B, impl work.Impl) {
			work.PairInTurns(b, s, impl, putDelete)
		})
	})
	b.Run("work=handover", func(b *testing.B) {
		const clients = 2
		each(b, []work.Impl{elock, mutex, sessionPerLock}, func(b *testing.B, impl work.Impl) {
			work.HandoverInTurns(b, s, impl, work.WriteAndNotice("write+notice", clients), clients)
		})
	})
}

// One process, whose goroutines have a key each.
func BenchmarkDistinct(b *testing.B) {
	s := work.Alone(b)
	for _, goroutines := range []int{16, 64, 256} {
		b.Run(fmt.Sprintf("goroutines=%d", goroutines), func(b *testing.B) {
			each(b, []work.Impl{elock, unbatched, retaining, classic, mutex, sessionPerLock, putDelete, local}, func(b *testing.B, impl work.Impl) {
				work.Distinct(b, s, impl, goroutines)
			})
			b.Run("impl=batches", func(b *testing.B) { work.Batches(b, s, goroutines) })
		})
	}
}

// Several processes, one goroutine each, that want the same key.
func BenchmarkHot(b *testing.B) {
	s := work.Alone(b)
	for _, clients := range []int{2, 4, 8, 16, 64, 200} {
		impls := []work.Impl{elock, retaining, mutex, sessionPerLock, local}
		if clients > 16 { // the others get slower with each that waits
			impls = []work.Impl{elock}
		}
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			each(b, impls, func(b *testing.B, impl work.Impl) { work.Hot(b, s, impl, clients, 1) })
			b.Run("impl=write+notice", func(b *testing.B) { work.Ring(b, s, clients) })
			if clients == 8 || clients == 64 {
				b.Run("impl=elock-shared", func(b *testing.B) { work.HotShared(b, s, "elock-shared", clients) })
			}
			var processes []string
			switch clients {
			case 2, 16:
				processes = []string{work.ElockProcesses, work.NoticeProcesses}
			case 8:
				processes = []string{work.ElockProcesses, work.SharedProcesses, work.NoticeProcesses}
			}
			for _, impl := range processes {
				b.Run("impl="+impl, func(b *testing.B) { work.HotProcesses(b, s, impl, clients) })
			}
		})
	}
}

// One process, whose goroutines want the same key.
func BenchmarkHotLocal(b *testing.B) {
	s := work.Alone(b)
	const goroutines = 64
	b.Run(fmt.Sprintf("goroutines=%d", goroutines), func(b *testing.B) {
		each(b, []work.Impl{elock, noHandoff, retaining, mutexEach, mutexBehind, local}, func(b *testing.B, impl work.Impl) {
			work.Hot(b, s, impl, 1, goroutines)
		})
	})
}

// Goroutines of one process, or of several, that want a slot of the same lock.
func BenchmarkSlots(b *testing.B) {
	s := work.Alone(b)
	const slots, goroutines = 8, 64
	for _, clients := range []int{1, 8} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			each(b, []work.Impl{
				work.ElockSlots("elock", slots), work.ElockSlots("elock-nohandoff", slots, locker.WithHandoff(0)),
				work.CountSlots("count+put", slots), work.PollSlots("count+put-1ms", slots, time.Millisecond), work.PollSlots("count+put-10ms", slots, 10*time.Millisecond),
			}, func(b *testing.B, impl work.Impl) {
				work.Slots(b, s, impl, slots, clients, goroutines/clients)
			})
		})
	}
}

// Four processes of 16 goroutines, some of whose keys are wanted more often than others.
func BenchmarkZipf(b *testing.B) {
	s := work.Alone(b)
	const clients, goroutines = 4, 16
	b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
		each(b, []work.Impl{elock, unbatched, noHandoff, retaining, mutexEach, mutexBehind, sessionPerLock, local}, func(b *testing.B, impl work.Impl) {
			work.Zipf(b, s, impl, clients, goroutines)
		})
	})
}

// Numbers in etcd that the goroutines of one process add to.
func BenchmarkUpdate(b *testing.B) {
	s := work.Alone(b)
	for _, one := range []bool{true, false} {
		byHand, values := mutexGetPut, "own"
		if one {
			byHand, values = mutexEachGetPut, "one" // goroutines under one session would not exclude each other
		}
		b.Run("values="+values, func(b *testing.B) {
			for _, goroutines := range []int{1, 16, 64} {
				b.Run(fmt.Sprintf("goroutines=%d", goroutines), func(b *testing.B) {
					each(b, []work.Impl{guarded, guardedRetained, optimistic, byHand, stm}, func(b *testing.B, impl work.Impl) {
						work.Update(b, s, impl, one, goroutines)
					})
				})
			}
		})
	}
}

// A try of a lock that another process holds.
func BenchmarkTry(b *testing.B) {
	s := work.Alone(b)
	each(b, []work.Impl{elock, classic, mutex, sessionPerLock, putDelete, local}, func(b *testing.B, impl work.Impl) {
		work.Try(b, s, impl)
	})
}

// Many locks held.
func BenchmarkHeld(b *testing.B) {
	s := work.Alone(b)
	for _, held := range []int{10, 1_000, 100_000} {
		b.Run(fmt.Sprintf("held=%d", held), func(b *testing.B) {
			each(b, []work.Impl{elock, mutex, sessionPerLock}, func(b *testing.B, impl work.Impl) {
				switch {
				case held > 1_000 && work.Once():
					b.Skip("takes long: wants more than -benchtime 1x")
				case held > 1_000 && impl.Name == sessionPerLock.Name:
					b.Skip("takes minutes")
				}
				work.Held(b, s, impl, held)
			})
		})
	}
}

// Three members, of which two must have each write.
func BenchmarkCluster(b *testing.B) {
	s := work.Cluster(b, 3)
	b.Run("members=3", func(b *testing.B) { some(b, s) })
}

// A network that makes each round trip 2 ms longer.
func BenchmarkFar(b *testing.B) {
	const rtt = 2 * time.Millisecond
	s := work.Far(b, rtt)
	b.Run(fmt.Sprintf("rtt=%v", rtt), func(b *testing.B) { some(b, s) })
}

// some is the work of the other benchmarks that tells most.
func some(b *testing.B, s *work.Site) {
	b.Run("work=pair", func(b *testing.B) {
		each(b, []work.Impl{elock, mutex, sessionPerLock, putDelete}, func(b *testing.B, impl work.Impl) {
			work.Pair(b, s, impl)
		})
	})
	b.Run("work=distinct", func(b *testing.B) {
		each(b, []work.Impl{elock, mutex, sessionPerLock, putDelete}, func(b *testing.B, impl work.Impl) {
			work.Distinct(b, s, impl, 256)
		})
	})
	b.Run("work=hot", func(b *testing.B) {
		each(b, []work.Impl{elock, mutex, sessionPerLock}, func(b *testing.B, impl work.Impl) {
			work.Hot(b, s, impl, 2, 1)
		})
		b.Run("impl=write+notice", func(b *testing.B) { work.Ring(b, s, 2) })
	})
}
