package locker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/locker"
)

// One of several locks is held elsewhere.
func TestAcquireAllOfATakenLock(t *testing.T) {
	t.Run("hooks hear that it is locked", func(t *testing.T) {
		simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
			hook := &ends{errs: make(chan error, 100)}
			a, b := locktest.New(t, sim.NewClient("a").Client, locker.WithHook(hook)), locktest.New(t, sim.NewClient("b").Client)
			held := locktest.Acquire(t, b, several[1])
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			_, err := a.AcquireAll(ctx, several)
			if !errors.Is(err, locker.ErrLocked) {
				t.Errorf("got %v", err)
			}
			locktest.Release(t, held)
			for i := range several { // of the try to take all at once
				if err := <-hook.errs; !errors.Is(err, locker.ErrLocked) {
					t.Errorf("AcquireEnd %d is told %v", i, err)
				}
			}
		})
	})
	t.Run("ctx ends with the answer", func(t *testing.T) {
		simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
			held := locktest.Acquire(t, locktest.New(t, sim.NewClient("b").Client), several[1])
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			tap := &locktest.Tap{Around: func(c context.Context, x locktest.Txn, send locktest.Send) (locktest.Answer, error) {
				a, err := send(c)
				if x.Writes() {
					cancel()
					time.Sleep(10 * time.Millisecond)
				}
				return a, err
			}}
			_, err := locktest.New(t, tap.On(sim.NewClient("a").Client)).AcquireAll(ctx, several)
			if !errors.Is(err, context.Canceled) || errors.Is(err, locker.ErrUnavailable) {
				t.Errorf("got %v, though etcd has answered", err)
			}
			locktest.Release(t, held)
		})
	})
}

// ends hears how acquires end.
type ends struct {
	locker.NopHook
	errs chan error
}

func (h *ends) AcquireEnd(_ context.Context, d locker.AcquireEndData) { h.errs <- d.Err }
