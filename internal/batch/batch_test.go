package batch

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/keyspace"
)

func TestWithNothingOnItsWayATransactionGoesAtOnceAndAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		began := time.Now()
		r, err := s.Commit(t.Context(), write(3))
		if err != nil || !r.Succeeded || r.Revision != 7 || len(r.Responses) != 1 || time.Since(began) != s.latency {
			t.Errorf("got %+v, %v after %v", r, err, time.Since(began))
		}
	})
}

func TestThoseWhoComeMeanwhileGoTogetherInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		out := s.during(t.Context(), write(3), unlikely(4), write(5))
		wantSucceeded(t, out)
		log := s.sent()
		if len(log) != 3 || !slices.Equal(log[2].values, []string{"xxx", "xxxx", "xxxxx"}) || log[2].cmps != 2 || log[2].nested != 1 {
			t.Errorf("sent %+v", log)
		}
		for i, o := range out {
			if len(o.Responses) != 1 || o.Responses[0].GetResponseRange().GetCount() != int64(i+3) {
				t.Errorf("%d got the answer %v", i, o.Responses)
			}
		}
		if s.BackingOff() {
			t.Error("it backs off after a success")
		}
	})
}

func TestTwoAreOnTheirWayAtOnceAndAKeyIsInABatchOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		both := write(4)
		both.Key, both.Also = space.Key(9), []keyspace.Key{space.Key(3)}
		wantSucceeded(t, s.during(t.Context(), write(3), write(3), both, write(5)))
		log := s.sent()
		// The third and the fourth leave at the same moment.
		if s.most != 2 || len(log) != 5 || len(log[2].values)+len(log[3].values) != 3 || len(log[4].values) != 1 {
			t.Errorf("%d at once, sent %+v", s.most, log)
		}
	})
}

func TestABatchFitsIntoWhatEtcdTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		var txns []Txn
		for i := range MaxOps + 5 {
			txns = append(txns, write(i))
		}
		double := func(i int) Txn { // the last that fits but for one operation, and one that fits besides
			t := write(i)
			t.Then = append(t.Then, clientv3.OpPut("double", ""))
			return t
		}
		txns[MaxOps-1] = double(MaxOps - 1)
		large := func(i int) Txn {
			t := write(i)
			t.Then = []clientv3.Op{clientv3.OpPut("large", strings.Repeat("x", maxBytes*2/3))}
			return t
		}
		txns = append(txns, large(500), large(501))
		wantSucceeded(t, s.during(t.Context(), txns...))
		for _, it := range s.sent() {
			size := 0
			for _, v := range it.values {
				size += len(v)
			}
			if it.ops > MaxOps || size > maxBytes {
				t.Errorf("sent %d operations of %d bytes", it.ops, size)
			}
		}
		if n := len(s.sent()); n != 5 {
			t.Errorf("sent %d", n)
		}
	})
}

func TestALargeTransactionGoesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		large := write(3)
		for range maxNested {
			large.Then = append(large.Then, clientv3.OpPut("more", ""))
		}
		wantSucceeded(t, s.during(t.Context(), large, write(4)))
		if log := s.sent(); len(log) != 4 || log[2].ops != maxNested+1 {
			t.Errorf("sent %+v", log)
		}
	})
}

func TestTheQueueWaitsForNoBatchThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		s.latency = time.Hour
		ctx, cancel := context.WithCancel(t.Context())
		var stuck sync.WaitGroup
		for i := range 2 {
			stuck.Go(func() { _, _ = s.Commit(ctx, write(1000+i)) })
		}
		synctest.Wait()
		s.mu.Lock()
		s.latency = time.Millisecond
		s.mu.Unlock()
		for range 3 { // each waits for its own time, and the next generation has two again
			began := time.Now()
			wantSucceeded(t, []outcome{one(s.Commit(t.Context(), write(3)))})
			if d := time.Since(began); d > maxWait+2*time.Millisecond {
				t.Errorf("after %v", d)
			}
		}
		cancel()
		stuck.Wait()
		out := s.during(t.Context(), write(3), write(4))
		wantSucceeded(t, out)
		if s.most > 3 {
			t.Errorf("%d at once", s.most)
		}
	})
}

func TestWhoStaysInTheQueueWaitsForNoBatchThatHangsEither(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		s.fault = func(ctx context.Context, n int, _ sent) error {
			if n < 3 {
				<-ctx.Done()
			}
			return ctx.Err()
		}
		ctx, cancel := context.WithCancel(t.Context())
		var stuck sync.WaitGroup
		for _, i := range []int{1000, 1001, 3} {
			stuck.Go(func() { _, _ = s.Commit(ctx, write(i)) })
			synctest.Wait()
		}
		began := time.Now()
		wantSucceeded(t, []outcome{one(s.Commit(t.Context(), write(3)))}) // not in the batch of the first that writes 3
		if d := time.Since(began); d > 2*maxWait+2*time.Millisecond {
			t.Errorf("after %v", d)
		}
		cancel()
		stuck.Wait()
	})
}

func one(r Result, err error) outcome { return outcome{r, err} }

func TestAnAnsweredRequestIsUsedAgainAndOneThatLeftIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		for range 50 {
			ctx, cancel := context.WithTimeout(t.Context(), s.latency*3/2)
			out := s.during(ctx, write(3), failing(4), write(5)) // ends during the second try
			cancel()
			for i, o := range out {
				if !errors.Is(o.err, context.DeadlineExceeded) {
					t.Fatalf("%d: %+v", i, o)
				}
			}
			wantSucceeded(t, s.during(t.Context(), write(6), failing(7)), -2)
			runtime.Gosched()
		}
	})
}

func TestAloneEachGoesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		wantSucceeded(t, s.during(t.Context(), write(3), write(4)))
		if n := len(s.sent()); n != 4 {
			t.Errorf("%d were sent", n)
		}
	})
}

func TestWithoutAGoroutineABatchRunsOnTheCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		s.cfg.Spawn = func(func()) bool { return false }
		wantSucceeded(t, s.during(t.Context(), write(3), write(4)))
	})
}

func TestManyAtOnceEachGetTheirOwnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		var wait sync.WaitGroup
		for i := range 500 {
			wait.Go(func() {
				for j := range 5 {
					kind, want := write, true
					switch (i + j) % 7 {
					case 0:
						kind, want = failing, false
					case 1:
						kind = unlikely
					}
					r, err := s.Commit(t.Context(), kind(i))
					if err != nil || r.Succeeded != want || want && r.Responses[0].GetResponseRange().GetCount() != int64(i) {
						t.Errorf("%d: got %+v, %v", i, r, err)
					}
				}
			})
		}
		wait.Wait()
		if n := len(s.sent()); n > 2500/4 {
			t.Errorf("%d were sent for 2,500", n)
		}
	})
}
