package lane

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phpgao/elock/keyspace"
)

// A user acts at random on one of several lanes, and sees whether it has what it should.
type user struct {
	t     *testing.T
	table *Table[int, int64]
	key   keyspace.Key
	seen  *seen
	rand  *rand.Rand
	share bool
}

// What is seen of one lane.
type seen struct {
	alone, sharing atomic.Int64
	value          atomic.Int64 // what is parked, handed over or shared; 0: nothing
}

func TestRandomCallersGetWhatTheyShould(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			table := New[int](Config[int64]{Stop: t.Context(), Term: term, Orphan: func(int64) { t.Error("an orphan") }})
			keys, lanes := []keyspace.Key{key, other}, make([]seen, 2)
			var users sync.WaitGroup
			for i := range 12 {
				r := rand.New(rand.NewPCG(seed, uint64(i)))
				users.Go(func() {
					for range 40 {
						k := r.IntN(2)
						u := user{t: t, table: table, key: keys[k], seen: &lanes[k], rand: r, share: r.IntN(2) == 0}
						u.act(i)
					}
				})
			}
			users.Wait()
			if !table.Drain(t.Context()) || table.busy.Load() != 0 {
				t.Errorf("seed %d: %d lanes are occupied", seed, table.busy.Load())
			}
			for i, k := range keys {
				if v := lanes[i].value.Load(); table.Vacant(k) != (v == 0) || v != 0 && !table.Recall(k, v) {
					t.Errorf("seed %d: %d is parked, vacant: %v", seed, v, table.Vacant(k))
				}
			}
		})
	}
}

func (u user) pause() { time.Sleep(time.Duration(u.rand.IntN(5)) * time.Millisecond) }

func (u user) act(name int) {
	ctx, cancel := context.WithTimeout(u.t.Context(), time.Duration(u.rand.IntN(40))*time.Millisecond)
	defer cancel()
	c, nth, ok := u.table.Enter(ctx, u.key, name, u.share, func(int, int) { u.pause() })
	switch {
	case !ok:
		return
	case nth == 0:
		u.occupy(c)
	case !u.share || c != u.seen.value.Load():
		u.t.Errorf("joined %d (it shares: %v); want %d", c, u.share, u.seen.value.Load())
	default:
		u.together()
	}
}

// occupy has the lane alone, and shares it if it likes.
func (u user) occupy(c int64) {
	if n, m := u.seen.alone.Add(1), u.seen.sharing.Load(); n != 1 || m != 0 {
		u.t.Errorf("%d have the lane, and %d share it", n, m)
	}
	if had := u.seen.value.Swap(0); had != c {
		u.t.Errorf("got %d with the lane, want %d", c, had)
	}
	u.pause()
	u.seen.alone.Add(-1)
	if !u.share {
		u.give()
		return
	}
	u.seen.value.Store(u.rand.Int64N(1e9) + 1)
	u.table.Share(u.key, u.seen.value.Load(), func(s *Sharing[int, int64]) {
		again := rand.New(rand.NewPCG(1, 2))
		go func() {
			for !s.Renew(again.IntN(2) == 0) {
				time.Sleep(time.Millisecond)
			}
		}()
	})
	u.together()
}

func (u user) together() {
	u.seen.sharing.Add(1)
	if n := u.seen.alone.Load(); n != 0 {
		u.t.Errorf("%d have the lane alone, while one shares it", n)
	}
	u.pause()
	u.seen.sharing.Add(-1)
	if u.table.Part(u.key) {
		u.seen.value.Store(0)
		u.give()
	}
}

// give gives the lane away.
func (u user) give() {
	c := u.rand.Int64N(1e9) + 1
	switch w := u.table.Next(u.key); {
	case u.rand.IntN(3) == 0:
	case w != nil:
		u.pause()
		if u.seen.value.Store(c); u.table.Hand(u.key, c, w) {
			return
		}
	default:
		if u.seen.value.Store(c); u.table.Park(u.key, c) {
			return
		}
	}
	u.seen.value.Store(0)
	u.table.Leave(u.key)
}
