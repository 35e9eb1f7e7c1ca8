package feed

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/watchstream"
)

func TestAFeedTellsDeletionsAndNewKeys(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		if b.Has("d/") {
			t.Error("there is a feed before Open")
		}
		f := b.Open("d/", clientv3.WithPrefix())
		defer f.Close()
		if s := read(f); s.Since != 10 || s.Created != nil || s.Deleted("d/a") != 0 || !b.Has("d/") || b.Has("other") {
			t.Errorf("at first: %+v", s)
		}
		before := read(f)
		created := b.put("d/a")
		if s := read(f); string(s.Created.GetKey()) != "d/a" || s.Created.CreateRevision != created || s.Deleted("d/a") != 0 || !closed(before.Changed) {
			t.Errorf("after a put: %+v", s)
		}
		before = read(f)
		deleted := b.delete("d/a")
		b.delete("elsewhere")
		if s := read(f); s.Deleted("d/a") != deleted || s.Deleted("elsewhere") != 0 || s.Since != 10 || !closed(before.Changed) {
			t.Errorf("after a deletion: %+v", s)
		}
		again := b.delete("d/a")
		if s := read(f); s.Deleted("d/a") != again {
			t.Errorf("after another one: %+v", s)
		}
	})
}

func TestChangedIsClosedForAChangeOnly(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		f := b.Open("key")
		defer f.Close()
		s := read(f)
		time.Sleep(10 * time.Second) // with probes
		synctest.Wait()
		if n := b.probes(); n < 3 || closed(s.Changed) {
			t.Errorf("%d probes; woken: %v", n, closed(s.Changed))
		}
		b.set(func() { b.refuse = true })
		b.breakAll()
		if now := read(f); now.Since != 0 || !closed(s.Changed) {
			t.Errorf("it trusts a watch that is broken: %+v; woken: %v", now, closed(s.Changed))
		}
		s = read(f)
		time.Sleep(10 * time.Second) // with watches that do not begin
		synctest.Wait()
		if closed(s.Changed) {
			t.Error("a round that fails wakes who waits")
		}
		b.set(func() { b.refuse = false })
		time.Sleep(10 * time.Second)
		if next := read(f); next.Since == 0 || !closed(s.Changed) {
			t.Errorf("the watch is in place again: %+v", next)
		}
	})
}

// A reader waits for the deletion of a key as the doc of the package says it may: whatever the watches do meanwhile, it neither
// misses the deletion nor sees one that was not.
func TestWhoReadsMissesNoDeletionAfterSince(t *testing.T) {
	for seed := range uint64(20) {
		inBed(t, func(t *testing.T, b *bed) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			f := b.Open("d/", clientv3.WithPrefix())
			defer f.Close()
			var readers sync.WaitGroup
			for i := range 40 {
				key := fmt.Sprint("d/", i)
				b.put(key)
				readers.Go(func() { b.await(t, f, key) })
				switch rnd.IntN(6) {
				case 0:
					b.breakAll()
				case 1:
					b.set(func() { b.refuse = !b.refuse })
				case 2:
					b.set(func() { b.silent = !b.silent })
				}
				for range rnd.IntN(60) {
					b.delete(fmt.Sprint("d/x", rnd.IntN(5000)))
				}
				time.Sleep(time.Duration(rnd.IntN(1500)) * time.Millisecond)
				b.delete(key)
				time.Sleep(time.Duration(rnd.IntN(200)) * time.Millisecond)
			}
			b.set(func() { b.refuse, b.silent = false, false })
			readers.Wait()
		})
	}
}

// await returns when key is deleted, and fails the test if it is not, or if that takes minutes.
func (b *bed) await(t *testing.T, f *Feed, key string) {
	began := time.Now()
	seen, there := b.has(key) // a read
	for there {
		var gone, live bool
		var changed <-chan struct{}
		f.Read(func(s State) {
			gone, live, changed = s.Deleted(key) > 0, s.Since != 0 && s.Since <= seen, s.Changed
		})
		if _, still := b.has(key); gone && still {
			t.Errorf("%s is said to be deleted, and is not", key)
		}
		switch {
		case gone:
			return
		case live:
			select {
			case <-changed:
			case <-time.After(5 * time.Minute):
				t.Errorf("the deletion of %s is not told after %v", key, time.Since(began))
				return
			}
		default:
			time.Sleep(time.Second)
			seen, there = b.has(key)
		}
	}
}

// has returns the revision of the server and whether the last change of key is a put.
func (b *bed) has(key string) (rev int64, there bool) {
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	for i := len(b.log) - 1; i >= 0; i-- {
		if ev := b.log[i]; string(ev.Kv.Key) == key {
			return b.rev, ev.Type == clientv3.EventTypePut
		}
	}
	return b.rev, false
}

func TestAFeedThatForgetsSaysSo(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		f := b.Open("d/", clientv3.WithPrefix())
		defer f.Close()
		synctest.Wait()
		b.delete("d/first")
		for i := range 10 * maxDeleted {
			b.delete(fmt.Sprint("d/", i))
			synctest.Wait()
		}
		s := read(f)
		if n := len(s.deleted); n > maxDeleted+1 {
			t.Errorf("it remembers %d keys", n)
		}
		if s.Deleted("d/first") != 0 || s.Since < 10+maxDeleted {
			t.Errorf("it has forgotten the first key, and vouches for everything since %d", s.Since)
		}
	})
}

func TestAllWhoOpenAKeyShareAWatchWhichEndsSoonAfterThem(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		var feeds []*Feed
		for range 100 {
			feeds = append(feeds, b.Open("key"))
		}
		b.wantRunning(t, 2) // it, and the probe
		for _, f := range feeds[1:] {
			f.Close()
		}
		time.Sleep(time.Minute)
		b.wantRunning(t, 2)
		if b.Hub.end(feeds[0]) { // as it may find when somebody comes at the last moment
			t.Error("the feed ends while it is used")
		}
		feeds[0].Close()
		time.Sleep(keepFor - time.Millisecond)
		f := b.Open("key")
		time.Sleep(time.Minute)
		if f != feeds[0] || !b.Has("key") {
			t.Error("who came soon after the last found no feed")
		}
		for range 3 {
			f.Close()
			time.Sleep(keepFor - time.Millisecond)
			if !b.Has("key") {
				t.Fatal("the feed ended with its last user")
			}
			f = b.Open("key")
		}
		f.Close()
		time.Sleep(keepFor + watchstream.Tick)
		b.wantRunning(t, 0)
		if running, streams, _ := b.counts(); b.Has("key") || running > 0 || streams != 1 {
			t.Errorf("a feed that nobody uses: %v; %d watches; %d streams", b.Has("key"), running, streams)
		}
		f = b.Open("key")
		defer f.Close()
		b.wantRunning(t, 2)
		if s := read(f); s.Since == 0 {
			t.Error("a key that is opened again has no watch")
		}
	})
}

func TestAFeedWhoseWatchDoesNotBeginEndsToo(t *testing.T) {
	for name, fault := range map[string]func(*bed){"refused": func(b *bed) { b.refuse = true }, "silent": func(b *bed) { b.silent = true }} {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(t *testing.T, b *bed) {
				b.set(func() { fault(b) })
				f := b.Open("key")
				time.Sleep(time.Minute)
				f.Close()
				time.Sleep(20 * time.Second)
				b.wantRunning(t, 0)
			})
		})
	}
}

func TestAHubThatHasEndedOpensNothing(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		f := b.Open("key")
		synctest.Wait()
		b.end()
		b.wantRunning(t, 0)
		f.Close()
		late := b.Open("late")
		late.Close()
		if s := read(late); s.Since != 0 || b.Has("late") || closed(s.Changed) {
			t.Errorf("a feed of a Hub that has ended: %+v", s)
		}
		if running, _, _ := b.counts(); running > 0 {
			t.Errorf("%d watches go on", running)
		}
	})
}

func TestAWatchThatIsInPlaceIsReplacedAfterAWhile(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		f := b.Open("key")
		defer f.Close()
		time.Sleep(10*maxRound + time.Second)
		if running, streams, opened := b.counts(); running != 1 || streams != 1 || opened < 10 || opened > 12 {
			t.Errorf("%d watches run of %d on %d streams", running, opened, streams)
		}
	})
}

// Else many waiters, one for each key, would send many messages though nothing happens.
func TestManyWatchesAreReplacedLessOften(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		const others = 100_000
		b.Hub.count.Add(others)
		f := b.Open("key")
		defer f.Close()
		time.Sleep(others * perFeed)
		if _, _, opened := b.counts(); opened != 1 {
			t.Errorf("%d watches were opened", opened)
		}
		time.Sleep(time.Second)
		if _, _, opened := b.counts(); opened != 2 {
			t.Errorf("%d watches were opened", opened)
		}
		b.Hub.count.Add(-others)
	})
}

// With many watches, one waits until those before it are in place.
func TestAWatchIsNotSilentWhileItsStreamSpeaks(t *testing.T) {
	for spoken, after := range map[time.Duration]time.Duration{0: patience, 10 * time.Second: 10*time.Second + patience, time.Hour: longest} {
		inBed(t, func(t *testing.T, b *bed) {
			h, began := b.Hub, time.Now()
			h.pulse.Opened()
			ctx, cancel := context.WithCancel(t.Context())
			silent := h.bound(began, cancel)
			speaks := time.NewTicker(time.Second)
			defer speaks.Stop()
			for ctx.Err() == nil {
				select {
				case <-speaks.C:
					if time.Since(began) <= spoken {
						h.pulse.Heard(false)
					}
				case <-ctx.Done():
				}
			}
			if took := time.Since(began); took < after || took > after+patience || !silent() {
				t.Errorf("given up after %v, want %v", took, after)
			}
			ended := h.bound(time.Now(), func() { t.Error("one that is in place is given up") })
			if ended() {
				t.Error("one that is in place was given up")
			}
			time.Sleep(time.Hour)
		})
	}
}

func TestWatchesAreTriedAgainWithPausesThatGrow(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.set(func() { b.refuse = true })
		f := b.Open("key")
		defer f.Close()
		time.Sleep(time.Minute)
		if _, streams, opened := b.counts(); opened < 10 || opened > 70 || streams < 5 {
			t.Errorf("%d tries in a minute, on %d streams", opened, streams)
		}
		b.set(func() { b.refuse, b.brief = false, true })
		time.Sleep(10 * time.Second)
		_, _, before := b.counts()
		time.Sleep(time.Minute)
		if _, _, opened := b.counts(); opened-before > 70 {
			t.Errorf("%d watches in a minute that end at once", opened-before)
		}
		b.set(func() { b.brief = false })
		time.Sleep(10 * time.Second)
		b.breakAll()
		synctest.Wait()
		time.Sleep(firstPause)
		if s := read(f); s.Since == 0 {
			t.Error("the pause after a watch that lasted is long")
		}
	})
}

func TestFollowTellsItsFollowerEverything(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		var mu sync.Mutex
		var log []string
		note := func(s string) {
			mu.Lock()
			defer mu.Unlock()
			log = append(log, s)
		}
		want := func(want ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if fmt.Sprint(log) != fmt.Sprint(want) {
				t.Errorf("got %v, want %v", log, want)
			}
			log = nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		to := Follower{
			Placed: func() { note("placed") },
			Broken: func() { note("broken") },
			Events: func(events []*clientv3.Event) { note(string(events[0].Kv.Key)) },
		}
		b.goroutines.Go(func() { b.Follow(ctx, "d/", to, clientv3.WithPrefix()) })
		want("placed")
		b.delete("d/a")
		b.delete("e/b")
		b.put("d/c")
		want("d/a", "d/c")
		b.set(func() { b.refuse = true })
		b.breakAll()
		want("broken")
		time.Sleep(time.Minute)
		want()
		b.set(func() { b.refuse = false })
		time.Sleep(10 * time.Second)
		want("placed")
		cancel()
		want("broken")
		if running, _, _ := b.counts(); running > 0 {
			t.Error("its watch goes on")
		}
	})
}

func TestAllEndsThoughTheClientHangs(t *testing.T) {
	for name, watch := range map[string]func(b *bed, ctx context.Context){
		"feed":   func(b *bed, _ context.Context) { b.Open("d/", clientv3.WithPrefix()) },
		"follow": func(b *bed, ctx context.Context) { b.Follow(ctx, "d/", Follower{Placed: func() {}, Broken: func() {}}) },
		"first":  func(b *bed, ctx context.Context) { _, _, _ = b.First(ctx, "d/a", 20) },
		"since":  func(b *bed, ctx context.Context) { _ = b.Since(ctx, "d/a", 20, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(t *testing.T, b *bed) {
				b.set(func() { b.hangs = true })
				ctx, cancel := context.WithCancel(t.Context())
				b.goroutines.Go(func() { watch(b, ctx) })
				synctest.Wait()
				if running, _, _ := b.counts(); running != 1 {
					t.Fatalf("%d watches", running)
				}
				cancel()
				b.end()
				b.wantRunning(t, 0)
			})
		})
	}
}

func TestFirstFindsAnEventOfThePast(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.delete("key")
		deleted := b.delete("key")
		b.delete("key")
		ev, _, err := b.First(t.Context(), "key", deleted)
		if err != nil || ev.Kv.ModRevision != deleted {
			t.Errorf("got %v, %v", ev, err)
		}
		time.AfterFunc(time.Minute, func() { b.delete("future") })
		if ev, _, err = b.First(t.Context(), "future", deleted); err != nil || string(ev.Kv.Key) != "future" {
			t.Errorf("got %v, %v", ev, err)
		}
		b.set(func() { b.compacted = deleted + 1 })
		ev, compacted, err := b.First(t.Context(), "key", deleted)
		if ev != nil || compacted != deleted+1 || err != rpctypes.ErrCompacted {
			t.Errorf("of a past that is compacted: %v, %d, %v", ev, compacted, err)
		}
		time.AfterFunc(time.Second, func() { b.set(func() { b.refuse = false }) })
		b.set(func() { b.refuse = true })
		if ev, _, err = b.First(t.Context(), "key", deleted+1); err != nil || ev.Kv.ModRevision != deleted+1 {
			t.Errorf("after watches that were refused: %v, %v", ev, err)
		}
	})
}

func TestFirstThatEndsWithItsCallerHarmsNobody(t *testing.T) {
	for name, latency := range map[string]time.Duration{"while it waits": 0, "before its watch is in place": time.Second} {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(t *testing.T, b *bed) {
				f := b.Open("key")
				defer f.Close()
				before := read(f)
				b.set(func() { b.latency = latency })
				ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
				defer cancel()
				if ev, _, err := b.First(ctx, "other", 5); ev != nil || err == nil {
					t.Errorf("got %v, %v", ev, err)
				}
				if s := read(f); s.Since != before.Since || closed(s.Changed) || closed(before.Changed) {
					t.Errorf("the feed begins anew: %+v", s)
				}
				if running, streams, _ := b.counts(); running != 1 || streams != 1 {
					t.Errorf("%d watches run, on %d streams", running, streams)
				}
			})
		})
	}
}
