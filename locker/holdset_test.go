package locker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

func TestTheContextTellsWhichHoldsItIsOf(t *testing.T) {
	t.Parallel()
	a, _, _, _ := newPair(t)
	_, hold := locker.HoldFrom(t.Context())
	_, set := locker.HoldSetFrom(t.Context())
	if hold || set {
		t.Error("a context without a hold has one")
	}
	for _, keys := range [][]keyspace.Key{several[:1], several} { // of one, too
		locktest.WantErr(t, a.RunInLock(t.Context(), key, func(ctx context.Context, outer *locker.Hold) error {
			if _, ok := locker.HoldSetFrom(ctx); ok {
				t.Error("a hold is taken for a set")
			}
			s, err := a.AcquireAll(ctx, keys)
			if err != nil {
				return err
			}
			return s.Run(func(ctx context.Context, s *locker.HoldSet) error {
				for _, ctx := range []context.Context{ctx, s.Context()} {
					if h, _ := locker.HoldFrom(ctx); h != outer {
						t.Errorf("got %v, want the hold around the set", h)
					}
					if got, _ := locker.HoldSetFrom(ctx); got != s {
						t.Errorf("got %v, want the set", got)
					}
					for _, k := range append(slices.Clone(keys), key) {
						locktest.WantErr(t, locktest.Second(a.Acquire(ctx, k)), locker.ErrDeadlock)
					}
				}
				inner, err := a.Acquire(ctx, neighbour)
				if err != nil {
					return err
				}
				defer locktest.Release(t, inner)
				if h, _ := locker.HoldFrom(inner.Context()); h != inner {
					t.Errorf("got %v, want the innermost", h)
				}
				if got, _ := locker.HoldSetFrom(inner.Context()); got != s {
					t.Errorf("got %v, want the set around the hold", got)
				}
				return nil
			})
		}), nil)
	}
}

func TestARunUnderSeveralLocksReleasesAllAndSaysWhatWasLost(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	mine := errors.New("mine")
	free := func() {
		t.Helper()
		released(t, func() bool { return len(keys(t, client, prefix)) == 0 })
		wantHeldAs(t, b, false)
	}
	s := acquireAll(t, a, several...)
	locktest.WantErr(t, s.Run(func(context.Context, *locker.HoldSet) error { wantHeldAs(t, b, true); return mine }), mine)
	free()
	locktest.WantErr(t, acquireAll(t, a, several...).Run(nil), locker.ErrInvalidOption)
	free()

	s = acquireAll(t, a, several...)
	err := s.Run(func(ctx context.Context, s *locker.HoldSet) error {
		if _, err := b.Evict(t.Context(), several[1]); err != nil {
			t.Error(err)
		}
		locktest.Receive(t, ctx.Done())
		locktest.WantLost(t, s.Err(), locker.ReasonEvicted)
		if left := s.Remaining(); left != 0 {
			t.Errorf("%v remain", left)
		}
		return mine
	})
	locktest.WantErr(t, err, mine)
	locktest.WantLost(t, err, locker.ReasonEvicted)
	if e, ok := errors.AsType[*locker.Error](err); !ok || e.Op != "run" || e.Key != "all/a all/b all/c" {
		t.Errorf("got %#v, want an Error of run and all keys", err)
	}
	locktest.Release(t, acquireAll(t, b, several...)) // waits until the others are freed
}

func TestASetShowsItsLocksAndTheirTokens(t *testing.T) {
	t.Parallel()
	a, _, _, _ := newPair(t)
	s := acquireAll(t, a, several[1], several[0])
	tokens := s.Tokens()
	if got, want := fmt.Sprint(s), fmt.Sprintf("all/a token %d, all/b token %d", tokens[several[0]], tokens[several[1]]); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAFailedAcquireOfSeveralGivesNilWhichMayBeReleased(t *testing.T) {
	t.Parallel()
	a, _, _, _ := newPair(t)
	s, err := a.AcquireAll(canceled(), several)
	locktest.WantErr(t, err, context.Canceled)
	if s != nil {
		t.Errorf("got %v", s)
	}
	locktest.Release(t, s)
}

func TestTheFencesOfASetOfOneAndItsCommitHold(t *testing.T) {
	t.Parallel()
	a, b, client, prefix := newPair(t)
	s, err := a.AcquireAll(t.Context(), several[:1], locker.ReadKeys(several[0].ValuePath(prefix)))
	locktest.WantErr(t, err, nil)
	if kvs := s.Read(); len(kvs) != 1 || kvs[0] != nil || s.Shared() {
		t.Errorf("read %v; shared: %v", kvs, s.Shared())
	}
	resp, err := client.Txn(t.Context()).If(s.Fences()...).Then(put(prefix, several[0], "x")).Commit()
	if err != nil || !resp.Succeeded {
		t.Errorf("fenced write: %v, %v", resp, err)
	}
	done, err := s.Commit(t.Context(), nil, put(prefix, several[0], "y"))
	if !done || err != nil {
		t.Errorf("commit: %v, %v", done, err)
	}
	if got := valueOf(t, client, prefix, several[0]); got != "y" {
		t.Errorf("the value is %q", got)
	}
	locktest.WantErr(t, s.Err(), locker.ErrReleased)
	resp, err = client.Txn(t.Context()).If(s.Fences()...).Then(put(prefix, several[0], "z")).Commit()
	if err != nil || resp.Succeeded {
		t.Errorf("fenced write after the end: %v, %v", resp, err)
	}
	wantHeldAs(t, b, false)
}
