package work

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// What is compared must lock: a figure of a lock that does not is worth nothing.
func TestNoTwoHoldALockAtOnce(t *testing.T) {
	for _, c := range []struct {
		impl       Impl
		goroutines int // of each process
	}{
		{Elock("elock"), 3},
		{Mutex("mutex"), 1},
		{MutexEach("mutex-each"), 3},
		{MutexBehindMutex("sync+mutex"), 3},
		{SessionPerLock("session-per-lock"), 3},
		{Local("sync.Mutex"), 3},
	} {
		t.Run(c.impl.Name, func(t *testing.T) {
			s := Shared(t)
			crowd := &crowd{began: time.Now()}
			var members []*member
			for range 2 {
				p := c.impl.Open(t, s)
				for range c.goroutines {
					members = append(members, &member{next: always(p()(0)), crowd: crowd})
				}
			}
			if err := rounds(t.Context(), members, 10); err != nil {
				t.Error(err)
			}
			var handovers histogram
			for _, m := range members {
				handovers.merge(&m.handovers)
			}
			if handovers.n == 0 || handovers.quantile(1) == 0 {
				t.Error("the lock did not change hands")
			}
		})
	}
}

func TestACrowdNoticesALockThatDoesNotExclude(t *testing.T) {
	crowd := &crowd{began: time.Now()}
	var both errgroup.Group
	inside := make(chan error)
	for range 2 {
		both.Go(func() error { inside <- crowd.enter(&member{}); return nil })
	}
	first, second := <-inside, <-inside
	if both.Wait(); (first == nil) == (second == nil) {
		t.Errorf("two entered: %v, %v", first, second)
	}
}

func TestATryOfAHeldLockFails(t *testing.T) {
	for _, impl := range []Impl{Elock("elock"), Classic("classic"), Mutex("mutex"), SessionPerLock("session"), Local("local")} {
		t.Run(impl.Name, func(t *testing.T) {
			s := Shared(t)
			holder := impl.Open(t, s)()(0)
			other := impl.Open(t, s)()(0).(Trier)
			if err := holder.Lock(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := other.TryLock(t.Context()); err == nil {
				t.Error("held twice")
			}
			if err := holder.Unlock(t.Context()); err != nil {
				t.Error(err)
			}
			if err := other.TryLock(t.Context()); err != nil {
				t.Error(err)
			} else if err := other.Unlock(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// rounds lets each of members do n.
func rounds(ctx context.Context, members []*member, n int) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, m := range members {
		g.Go(func() error {
			for range n {
				if err := m.round(ctx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}
