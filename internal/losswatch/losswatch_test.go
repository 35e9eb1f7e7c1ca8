package losswatch

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// soon is more than a round trip.
const soon = 20 * time.Millisecond

// names are so many names of keys.
func names(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("k%03d", i))
	}
	return all
}

func TestAKeyThatGoesIsNoticed(t *testing.T) {
	for _, n := range []int{5, 40} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			inBeds(t, func(t *testing.T, b *bed) {
				all := names(n)
				b.put(t, all...)
				b.delete(t, "k000") // while it is young
				if _, err := b.other.Put(t.Context(), root+"k003", "without a lease"); err != nil {
					t.Fatal(err)
				}
				b.wantLost(t, 2*After+soon, "k000", "k003")
				b.wantPlaced(t, n)
				b.delete(t, "k001")
				b.delete(t, all[n-1])
				want := []string{"k000", "k001", "k003", all[n-1]}
				if n <= maxSingle || b.hub != nil { // the watch of the directory does not report puts
					if _, err := b.other.Put(t.Context(), root+"k002", "without a lease"); err != nil {
						t.Fatal(err)
					}
					want = append(want, "k002")
				}
				b.wantLost(t, soon, want...)
			})
		})
	}
}

func TestNothingIsSentWhileAllIsWell(t *testing.T) {
	inBeds(t, func(t *testing.T, b *bed) {
		b.put(t, names(5)...)
		time.Sleep(3 * After)
		_, _, creates := b.cost()
		if creates != 5 {
			t.Errorf("%d watches of 5 keys", creates)
		}
		time.Sleep(20 * time.Second)
		if reads, _, creates := b.cost(); reads > 0 || creates > 0 {
			t.Errorf("%d reads and %d watches while all is well", reads, creates)
		}
		b.wantLost(t, 0)
	})
}

func TestYoungKeysCostNothing(t *testing.T) {
	inBeds(t, func(t *testing.T, b *bed) {
		for range 100 {
			b.put(t, "key")
			time.Sleep(After / 2)
			b.end("key")
		}
		if reads, _, creates := b.cost(); reads > 0 || creates > 0 {
			t.Errorf("%d reads and %d watches", reads, creates)
		}
	})
}

func TestManyKeysShareWatches(t *testing.T) {
	inBed(t, false, func(t *testing.T, b *bed) {
		first := names(100)[:4]
		b.put(t, first...)
		time.Sleep(3 * After)
		if _, _, creates := b.cost(); creates != 4 {
			t.Errorf("%d watches of 4 keys", creates)
		}
		b.put(t, names(100)[4:]...)
		time.Sleep(3 * After)
		b.wantPlaced(t, 100)
		if _, _, creates := b.cost(); creates != maxSingle-4+1 {
			t.Errorf("%d watches more for 96 keys more", creates)
		}
		// Who comes when the watch of all is in place is read once.
		b.put(t, "late")
		time.Sleep(3 * After)
		b.wantPlaced(t, 101)
		if reads, gets, creates := b.cost(); reads != 1 || gets != 1 || creates != 0 {
			t.Errorf("one key more: %d reads of %d keys, %d watches", reads, gets, creates)
		}
		b.delete(t, "k050", "late")
		b.wantLost(t, soon, "k050", "late")
		b.end(append(names(100)[4:], "late")...)
		time.Sleep(3 * After)
		b.wantPlaced(t, 4)
		b.put(t, "k050", "k051")
		time.Sleep(3 * After)
		b.wantPlaced(t, 6)
		if _, _, creates := b.cost(); creates > 2+2*4 { // and perhaps a round of each watch has ended
			t.Errorf("%d watches of two keys", creates)
		}
	})
}

func TestKeysAreReadWhileNoWatchWorks(t *testing.T) {
	inBeds(t, func(t *testing.T, b *bed) {
		const n = 100
		b.set(func() {
			b.refuse = func(method string) error {
				if method == "Watch" {
					return rpctypes.ErrGRPCNoLeader
				}
				return nil
			}
		})
		b.put(t, names(n)...)
		time.Sleep(10 * After)
		b.wantPlaced(t, 0)
		b.cost()
		time.Sleep(10 * After)
		if reads, gets, _ := b.cost(); reads < 18 || reads > 22 || gets != n*reads/2 {
			t.Errorf("%d reads of %d keys in %v", reads, gets, 10*After)
		}
		b.delete(t, "k000", "k099")
		b.wantLost(t, After+soon, "k000", "k099")
		b.set(func() { b.refuse = nil })
		time.Sleep(5 * time.Second)
		b.wantPlaced(t, n)
	})
}

func TestWhatGoesWhileWatchesAreBrokenIsNoticed(t *testing.T) {
	inBeds(t, func(t *testing.T, b *bed) {
		b.put(t, names(20)...)
		time.Sleep(3 * After)
		b.wantPlaced(t, 20)
		b.mine.BreakStreams()
		b.delete(t, "k003", "k015")
		b.wantLost(t, 2*After, "k003", "k015")
		b.wantPlaced(t, 20)
		b.delete(t, "k004", "k016")
		b.wantLost(t, soon, "k003", "k015", "k004", "k016")
	})
}

func TestAnEntryThatTakesThePlaceOfAnotherIsReadOnce(t *testing.T) {
	inBeds(t, func(t *testing.T, b *bed) {
		b.put(t, "key")
		time.Sleep(3 * After)
		b.cost()
		b.delete(t, "key") // its owner does
		b.put(t, "key")
		time.Sleep(3 * After)
		if reads, gets, creates := b.cost(); reads != 1 || gets != 1 || creates != 0 {
			t.Errorf("%d reads of %d keys, %d watches", reads, gets, creates)
		}
		b.set(func() { // one that went before it was among the entries
			b.lost = map[string]time.Time{}
			e := b.entries[root+"key"]
			e.Rev++
			b.entries[root+"key"] = e
		})
		b.wantLost(t, After+soon, "key")
	})
}

func TestWatchesEndWithTheirEntries(t *testing.T) {
	for _, n := range []int{3, 30} {
		inBeds(t, func(t *testing.T, b *bed) {
			b.put(t, names(n)...)
			time.Sleep(3 * After)
			b.wantPlaced(t, n)
			b.end(names(n)...)
			time.Sleep(2*After + time.Second)
			b.wantPlaced(t, 0)
			b.set(func() {
				want := 1 // Run
				if b.hub != nil {
					want = 2
				}
				if b.running != want {
					t.Errorf("%d goroutines, want %d", b.running, want)
				}
			})
			b.cost()
			time.Sleep(time.Hour)
			if reads, _, creates := b.cost(); reads > 0 || creates > 0 || b.awake.Load() {
				t.Errorf("%d reads and %d watches without an entry; awake: %v", reads, creates, b.awake.Load())
			}
			b.put(t, "again")
			time.Sleep(3 * After)
			b.wantPlaced(t, 1)
		})
	}
}

func TestReadsShrinkToWhatEtcdTakes(t *testing.T) {
	inBeds(t, func(t *testing.T, b *bed) {
		b.sim.SetLimits(8, 1<<20)
		b.put(t, names(100)...)
		b.delete(t, names(100)...)
		b.wantLost(t, 3*After, names(100)...)
	})
}

func TestAReadThatFailsIsTriedAgainForThoseThatLive(t *testing.T) {
	inBeds(t, func(t *testing.T, b *bed) {
		b.set(func() {
			b.refuse = func(method string) error {
				if method == "Txn" {
					return rpctypes.ErrGRPCTimeout
				}
				return nil
			}
		})
		b.put(t, names(10)...)
		b.delete(t, "k001", "k002")
		time.Sleep(time.Minute)
		if reads, _, _ := b.cost(); reads < 20 || reads > 70 {
			t.Errorf("%d reads that failed in a minute", reads)
		}
		b.end("k002", "k003")
		time.Sleep(3 * After)
		b.cost()
		b.set(func() { b.refuse = nil })
		b.wantLost(t, 2*After, "k001")
		if _, gets, _ := b.cost(); gets == 0 || gets > 2*8*8 {
			t.Errorf("%d keys were read", gets)
		}
	})
}

func TestARefusalIsLoggedOnce(t *testing.T) {
	inBeds(t, func(t *testing.T, b *bed) {
		b.set(func() { b.refuse = func(string) error { return rpctypes.ErrGRPCPermissionDenied } })
		b.put(t, names(10)...)
		time.Sleep(time.Minute)
		if n := b.logged("level=WARN"); n != 1 {
			t.Errorf("logged %d times:\n%s", n, b.log.String())
		}
		if reads, _, _ := b.cost(); reads > 70 {
			t.Errorf("%d reads in a minute", reads)
		}
		b.set(func() { b.refuse = nil })
		b.delete(t, "k001")
		b.wantLost(t, 10*time.Second, "k001")
		b.wantPlaced(t, 10)
	})
}

func TestAWatcherEndsWithItsBase(t *testing.T) {
	inBeds(t, func(t *testing.T, b *bed) {
		b.put(t, names(20)...)
		time.Sleep(2 * After)
		synctest.Wait()
	})
}

func TestAKeyThatMayNotBeReadHidesNoOther(t *testing.T) {
	inBeds(t, func(t *testing.T, b *bed) {
		b.set(func() { b.forbidden = "k001" })
		b.put(t, names(10)...)
		time.Sleep(5 * After)
		b.delete(t, "k002")
		b.wantLost(t, 5*After, "k002")
		time.Sleep(time.Minute)
		if reads, _, _ := b.cost(); reads > 300 { // the streams on which a watch is refused are replaced
			t.Errorf("%d reads in a minute", reads)
		}
	})
}

// Where one watch has many keys, it tells of deletions only.
func TestWhatIsPutOverAKeyIsReadForWhoeverAsks(t *testing.T) {
	inBeds(t, func(t *testing.T, b *bed) {
		var names []string
		for i := range maxSingle + 4 {
			names = append(names, fmt.Sprint(i))
		}
		b.put(t, names...)
		time.Sleep(5 * time.Second)
		asks := root + names[0]
		b.Watcher.mu.Lock()
		for name, k := range b.keys {
			if k.bulk {
				asks = name // which of them are, is chance
			}
		}
		b.Watcher.mu.Unlock()
		if _, err := b.other.Put(t.Context(), asks, "before", clientv3.WithIgnoreLease()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		for _, text := range []string{"before", "after"} {
			b.set(func() {
				e := b.entries[asks]
				e.Ask = 1
				b.entries[asks] = e
				delete(b.again, asks)
			})
			if _, err := b.other.Put(t.Context(), asks, text, clientv3.WithIgnoreLease()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(After + time.Second/10)
			b.set(func() {
				if stream := b.hub != nil; b.again[asks] != text && (!stream || text == "before") {
					t.Errorf("read %q, want %q", b.again[asks], text)
				}
				if len(b.lost) > 0 {
					t.Errorf("lost %v", b.lost)
				}
			})
		}
	})
}
