package election

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/phpgao/elock/locker"
)

const (
	// firstPause is the pause before Run campaigns again, which doubles up to maxPause
	// while that fails.
	firstPause = 50 * time.Millisecond
	maxPause   = time.Second
)

// Run campaigns and calls lead when it leads, again after each term that is lost, until
// ctx ends or lead returns by itself.
//
// The context of lead has the values and the cancellation of ctx. It is done before
// anybody else can lead, and its cause says why. lead has to return then: Run waits for
// it, and does not campaign meanwhile.
//
// When lead returns, panics or calls runtime.Goexit, Run resigns. If the term was
// lost, or the monitor has ended it, and lead returned nil or an error that matches the
// cause of its context, or context.Canceled, then Run campaigns again. Otherwise it
// returns the error of lead, as it is, also if lead has resigned itself; if the term was
// lost too, or the release was not confirmed, together with that.
//
// If ctx ends while Run campaigns, the error matches that of ctx. It tries on when
// etcd does not answer or has no space. Every other error of Campaign ends Run:
// locker.ErrClosed, bad arguments before anything is sent, and what etcd refuses.
func (e *Election[T]) Run(ctx context.Context, value T, lead func(ctx context.Context, t *Term[T]) error) error {
	if lead == nil {
		return named("run", e.key, invalid("nil function"))
	}
	for wait := firstPause; ; {
		t, err := e.campaign(ctx, value)
		switch {
		case err == nil:
			wait = firstPause
			if again, err := t.run(lead); !again {
				return err
			}
		case !e.passes(ctx, err):
			return named("run", e.key, err)
		}
		pause(ctx, wait) // whatever took the term away may do so again
		wait = min(2*wait, maxPause)
	}
}

// passes reports whether to campaign again after err.
func (e *Election[T]) passes(ctx context.Context, err error) bool {
	return ctx != nil && ctx.Err() == nil && e.l.Context().Err() == nil &&
		(errors.Is(err, locker.ErrUnavailable) || errors.Is(err, locker.ErrLost) || errors.Is(err, rpctypes.ErrNoSpace))
}

// run leads for one term, and reports whether to campaign for another.
func (t *Term[T]) run(lead func(ctx context.Context, t *Term[T]) error) (again bool, err error) {
	var own error
	err = t.hold.Run(func(ctx context.Context, _ *locker.Hold) error {
		own = lead(ctx, t)
		return own
	})
	cause := t.hold.Err()
	lost := errors.Is(cause, locker.ErrLost) || errors.Is(cause, locker.ErrMaxHeld)
	if lost && (own == nil || errors.Is(own, cause) || errors.Is(own, context.Canceled)) {
		return true, nil
	}
	if e, ok := err.(*locker.Error); ok && err != own {
		err = named("run", t.e.key, e)
	}
	return false, err
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
