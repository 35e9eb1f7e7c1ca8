package batch

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Of a long queue many give up, one after the other.
func TestManyWhoGiveUpCostTheOthersNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		rnd := rand.New(rand.NewPCG(1, 2))
		var stuck, waits sync.WaitGroup
		s.occupy(&stuck)
		const n = 3000
		var mu sync.Mutex
		gaveUp := 0
		for i := range n {
			ctx, cancel := context.WithCancel(t.Context())
			if rnd.IntN(3) > 0 {
				time.AfterFunc(time.Duration(rnd.IntN(int(s.latency))), cancel)
			}
			waits.Go(func() {
				defer cancel()
				_, err := s.Commit(ctx, write(i%500))
				switch {
				case err == nil:
				case errors.Is(err, context.Canceled):
					mu.Lock()
					gaveUp++
					mu.Unlock()
				default:
					t.Error(err)
				}
			})
		}
		waits.Wait()
		stuck.Wait()
		synctest.Wait()
		sent := 0
		for _, it := range s.sent() {
			sent += len(it.values)
		}
		if want := n - gaveUp + maxBatches; gaveUp < n/2 || sent != want {
			t.Errorf("%d gave up; %d were sent, want %d", gaveUp, sent, want)
		}
		if s.left != 0 || s.eager != 0 || len(s.queue) != 0 || s.onTheWay != 0 {
			t.Errorf("in the queue %d, %d of them left; %d on the way", len(s.queue), s.left, s.onTheWay)
		}
	})
}

// Behind those that a batch takes there are only some that have left. The timer of the queue finds nobody who waits.
func TestAQueueThatAllHaveLeftIsEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		s.latency = maxWait + 5*time.Millisecond
		var stuck, waits sync.WaitGroup
		s.occupy(&stuck)
		ctx, cancel := context.WithCancel(t.Context())
		for i := range MaxOps + MaxOps/2 {
			under := t.Context()
			if i >= MaxOps {
				under = ctx
			}
			waits.Go(func() { _, _ = s.Commit(under, write(i)) })
			synctest.Wait()
		}
		cancel()
		waits.Wait()
		stuck.Wait()
		if s.left != MaxOps/2 || len(s.queue) != s.left {
			t.Fatalf("in the queue %d, of whom %d have left", len(s.queue), s.left)
		}
		time.Sleep(2 * maxWait)
		wantSucceeded(t, s.during(t.Context(), write(3)))
		synctest.Wait()
		if s.onTheWay != 0 || s.eager != 0 || len(s.queue) != 0 || s.generation != 2 {
			t.Errorf("%d on the way, %d eager, %d in the queue, generation %d", s.onTheWay, s.eager, len(s.queue), s.generation)
		}
	})
}

func TestOnesThatDoNotFitAreNotAllLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		var txns []Txn
		for range 3 * maxPassed {
			txns = append(txns, write(3)) // one key: each goes alone
		}
		out := s.during(t.Context(), append(txns, write(4))...)
		wantSucceeded(t, out)
		log := s.sent()
		if last := log[len(log)-1]; len(log) != 2+len(txns) || len(last.values) != 1 {
			t.Errorf("%d were sent, the last with %v", len(log), last)
		}
		for i, it := range log[2:] {
			if want := 1; len(it.values) != want && (len(it.values) != 2 || i < len(txns)-maxPassed-1) {
				t.Errorf("%d: %d together", i, len(it.values))
			}
		}
	})
}
