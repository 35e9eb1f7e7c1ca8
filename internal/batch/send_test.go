package batch

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/xctx"
)

func TestOneThatFailsHasAllSentAgainNestedAndFailsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		wantSucceeded(t, s.during(t.Context(), write(3), failing(4), write(5)), -2)
		if log := s.sent(); len(log) != 4 || log[3].nested != 3 || log[3].cmps != 0 {
			t.Errorf("sent %+v", log)
		}
		if !s.BackingOff() {
			t.Error("it does not back off")
		}
		time.Sleep(backoff)
		if s.BackingOff() {
			t.Error("it backs off for ever")
		}
	})
}

func TestAFormKnowsWhetherItIsMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		formed := func(i int) Txn {
			return Txn{Key: space.Key(i), Form: func(merged bool) Txn {
				t := write(i)
				t.Optimistic = merged
				if !merged {
					t.Then = append(t.Then, clientv3.OpPut("more", ""))
				}
				return t
			}}
		}
		if out := s.during(t.Context(), formed(3), formed(4)); !out[0].Optimistic || !out[1].Optimistic || len(out[0].Responses) != 1 {
			t.Errorf("merged: got %+v", out)
		}
		if out := s.during(t.Context(), formed(3), failing(4)); out[0].Optimistic || !out[0].Succeeded || len(out[0].Responses) != 2 {
			t.Errorf("nested: got %+v", out)
		}
		if r, err := s.Commit(t.Context(), formed(5)); err != nil || r.Optimistic || len(r.Responses) != 2 {
			t.Errorf("alone: got %+v, %v", r, err)
		}
	})
}

func TestWhatIsRejectedForItsContentsFailsAloneAndSoonGoesAlone(t *testing.T) {
	for _, kind := range []func(int) Txn{write, unlikely} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, false)
			s.fault = func(_ context.Context, _ int, it sent) error {
				if slices.Contains(it.values, "xxxxx") {
					return rpctypes.ErrPermissionDenied
				}
				return nil
			}
			out := s.during(t.Context(), kind(3), kind(4), kind(5), kind(6))
			for i, o := range out {
				if refused := i == 2; errors.Is(o.err, rpctypes.ErrPermissionDenied) != refused || refused != NotApplied(o.err) {
					t.Errorf("%d: %v", i, o.err)
				}
			}
			before := len(s.sent())
			s.during(t.Context(), kind(4), kind(5), kind(6))
			if log := s.sent()[before:]; len(log) != 4 || len(log[2].values) != 1 || len(log[3].values) != 2 {
				t.Errorf("then sent %+v", log)
			}
			time.Sleep(isolation)
			before = len(s.sent())
			s.fault = nil
			s.during(t.Context(), kind(4), kind(5), kind(6))
			if log := s.sent()[before:]; len(log) != 3 || len(log[2].values) != 3 {
				t.Errorf("later sent %+v", log)
			}
		})
	}
}

func TestAServerThatTakesFewOperationsIsLearnt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		s.fault = func(_ context.Context, _ int, it sent) error {
			if it.ops > 4 {
				return rpctypes.ErrTooManyOps
			}
			return nil
		}
		var txns []Txn
		for i := range 16 {
			txns = append(txns, write(i))
		}
		wantSucceeded(t, s.during(t.Context(), txns...))
		if !s.Fits(4) || s.Fits(5) {
			t.Errorf("a limit of %d", s.limit)
		}
		before := len(s.sent())
		wantSucceeded(t, s.during(t.Context(), txns[:8]...))
		if n := len(s.sent()) - before; n != 4 {
			t.Errorf("then %d were sent", n)
		}
	})
}

func TestNoSpaceLeavesTheOutcomeOpenAndHasEachGoAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		s.fault = func(_ context.Context, n int, _ sent) error {
			if n == 2 {
				return rpctypes.ErrNoSpace
			}
			return nil
		}
		for i, o := range s.during(t.Context(), write(3), write(4)) {
			if !errors.Is(o.err, ErrTogether) || NotApplied(o.err) {
				t.Errorf("%d: %v", i, o.err)
			}
		}
		s.during(t.Context(), write(3), write(4))
		if log := s.sent(); len(log) != 7 || len(log[5].values) != 1 || len(log[6].values) != 1 {
			t.Errorf("sent %+v", log)
		}
	})
}

func TestTheErrorOfAResendLeavesTheOutcomeOpen(t *testing.T) {
	for _, err := range []error{rpctypes.ErrNotLeader, rpctypes.ErrUserEmpty} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, false)
			s.fault = func(_ context.Context, n int, _ sent) error {
				if n == 3 { // nested, after the merged one failed
					return err
				}
				return nil
			}
			for i, o := range s.during(t.Context(), write(3), failing(4)) {
				if !errors.Is(o.err, err) || NotApplied(o.err) {
					t.Errorf("%d: %v", i, o.err)
				}
			}
		})
	}
}

func TestOneThatWasSentTwiceIsInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		s.twice = true
		for i, o := range s.during(t.Context(), write(3), failing(4), unlikely(5)) {
			if !o.InDoubt {
				t.Errorf("%d: %+v", i, o)
			}
		}
		if r, err := s.Commit(t.Context(), write(3)); err != nil || !r.InDoubt {
			t.Errorf("alone: %+v, %v", r, err)
		}
	})
}

// The doubt of a batch goes on with each of its halves.
func TestDoubtGoesOnWithTheParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		s.twice = true
		s.fault = func(_ context.Context, n int, it sent) error {
			if it.nested > 1 {
				s.mu.Lock()
				s.twice = false
				s.mu.Unlock()
				return rpctypes.ErrPermissionDenied
			}
			return nil
		}
		for i, o := range s.during(t.Context(), write(3), failing(4)) { // merged: twice; nested: rejected; then each alone
			if o.err != nil || !o.InDoubt {
				t.Errorf("%d: %+v", i, o)
			}
		}
	})
}

// A batch goes twice, and is refused. Then each of its transactions is refused alone.
func TestARefusalOfOneThatMayHaveBeenAppliedIsNone(t *testing.T) {
	for name, together := range map[string]error{"both refused": rpctypes.ErrPermissionDenied, "one open": Open(rpctypes.ErrPermissionDenied)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, false)
				s.twice = true
				s.fault = func(_ context.Context, n int, it sent) error {
					switch {
					case n < maxBatches:
						return nil
					case len(it.values) > 1:
						return together
					}
					return rpctypes.ErrPermissionDenied
				}
				for i, o := range s.during(t.Context(), write(3), write(4)) {
					if open := !NotApplied(o.err); open != (name == "one open") || !errors.Is(o.err, rpctypes.ErrPermissionDenied) {
						t.Errorf("%d: open %v: %v", i, open, o.err)
					}
				}
			})
		})
	}
}

func TestABatchThatIsNotAnsweredIsGivenUpAfterItsPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		s.fault = func(ctx context.Context, n int, _ sent) error {
			if n == 2 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		began := time.Now()
		for i, o := range s.during(t.Context(), write(3), write(4)) {
			if !errors.Is(o.err, ErrNoAnswer) || NotApplied(o.err) {
				t.Errorf("%d: %v", i, o.err)
			}
		}
		if d := time.Since(began); d > xctx.Patience(0)+time.Second/10 || s.silent != 1 {
			t.Errorf("after %v; %d times silent", d, s.silent)
		}
	})
}

func TestABatchThatEndsAsTheOwnerClosesIsNotSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		s.fault = func(ctx context.Context, n int, _ sent) error {
			if n == 2 {
				s.close()
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		for i, o := range s.during(t.Context(), write(3), write(4)) {
			if !errors.Is(o.err, context.Canceled) || errors.Is(o.err, ErrNoAnswer) || NotApplied(o.err) {
				t.Errorf("%d: %v", i, o.err)
			}
		}
		if s.silent != 0 {
			t.Error("silent")
		}
	})
}

func TestWhoGivesUpInTheQueueWasNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for i, o := range s.during(ctx, write(3), write(4)) {
			if !errors.Is(o.err, context.Canceled) || !NotApplied(o.err) {
				t.Errorf("%d: %v", i, o.err)
			}
		}
		if n := len(s.sent()); n != 2 {
			t.Errorf("%d were sent", n)
		}
		wantSucceeded(t, s.during(t.Context(), write(3)))
	})
}

func TestABatchIsCancelledWhenNobodyWaitsForItAndNotBefore(t *testing.T) {
	for _, parts := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, false)
			cancelled := 0
			s.fault = func(ctx context.Context, n int, it sent) error {
				switch {
				case n < 2:
					return nil
				case parts && len(it.values) > 2:
					return rpctypes.ErrPermissionDenied
				case slices.Contains(it.values, "xxx"):
					<-ctx.Done()
					cancelled++
				}
				return ctx.Err()
			}
			first, giveUp := context.WithCancel(t.Context())
			second, giveUpToo := context.WithCancel(t.Context())
			var wait sync.WaitGroup
			s.occupy(&wait)
			wait.Go(func() {
				if _, err := s.Commit(first, write(3)); !errors.Is(err, context.Canceled) || NotApplied(err) {
					t.Errorf("the first got %v", err)
				}
			})
			synctest.Wait()
			wait.Go(func() {
				if _, err := s.Commit(second, write(4)); !errors.Is(err, context.Canceled) || NotApplied(err) {
					t.Errorf("the second got %v", err)
				}
			})
			synctest.Wait()
			others := 0
			if parts {
				others = 2
			}
			for i := range others {
				wait.Go(func() { wantSucceeded(t, []outcome{one(s.Commit(t.Context(), write(6+i)))}) })
				synctest.Wait()
			}
			time.Sleep(10 * time.Millisecond)
			giveUp()
			synctest.Wait()
			if cancelled != 0 {
				t.Error("cancelled though one waits")
			}
			giveUpToo()
			synctest.Wait()
			if cancelled != 1 {
				t.Errorf("cancelled %d times", cancelled)
			}
			wait.Wait()
		})
	}
}
