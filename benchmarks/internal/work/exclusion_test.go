package work

import (
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/phpgao/elock/locker"
)

func TestNoTwoHoldALockAtOnce(t *testing.T) {
	for _, c := range []struct {
		impl       Impl
		goroutines int // of each process
	}{
		{Elock("elock"), 3},
		{Elock("elock-retain", locker.WithRetain(time.Minute)), 3},
		{Mutex("mutex"), 1},
		{MutexEach("mutex-each"), 3},
		{MutexBehindMutex("sync+mutex"), 3},
		{SessionPerLock("session-per-lock"), 3},
		{Local("sync.Mutex"), 3},
	} {
		t.Run(c.impl.Name, func(t *testing.T) { Exclude(t, Shared(t), c.impl, 2, c.goroutines) })
	}
}

func TestNoMoreHoldALockThanItHasSlots(t *testing.T) {
	for _, impl := range []Impl{ElockSlots("elock", 2), CountSlots("count+put", 2), PollSlots("poll", 2, time.Millisecond)} {
		t.Run(impl.Name, func(t *testing.T) { ExcludeFromSlots(t, Shared(t), impl, 2, 2, 3) })
	}
}

func TestNobodyReadsALockThatAnotherWrites(t *testing.T) {
	exclude(t, readers(t, Shared(t), "elock-shared", 3))
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
