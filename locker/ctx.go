package locker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// grace is how long a clean-up outlives the context of its caller.
	grace = 500 * time.Millisecond
	// patience bounds each wait for etcd that no caller's context bounds.
	patience = 5 * time.Second
	// closePatience is how long Close waits for etcd.
	closePatience = 3 * time.Second
	// retryPause is the first pause before something is tried again.
	retryPause = 50 * time.Millisecond
	// watchRound is how long a watch may be silent before it is replaced.
	watchRound = 30 * time.Second
	// maxWake is the longest pause; within it a machine that slept is noticed.
	maxWake = time.Second
)

// either returns a context that ends with ctx, or with other and its cause.
func either(ctx, other context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(other, func() { cancel(context.Cause(other)) })
	return ctx, func() { stop(); cancel(nil) }
}

// A late is a context with the values of caller that outlives it, and other if
// there is one, by grace, and ends at deadline if there is one. It is made when
// it is first asked for: a transaction that goes with others is answered
// without, unless caller or other ends meanwhile or etcd is slow.
type late struct {
	caller, other context.Context
	grace         time.Duration
	deadline      time.Time
	releases      *Hold // whose end by this very call may be what ends caller; nil for other calls

	once sync.Once
	ctx  context.Context
	end  func()
}

func (l *late) made() context.Context {
	l.once.Do(func() {
		ctx, end := context.WithoutCancel(l.caller), func() {}
		if l.deadline.IsZero() {
			l.ctx, end = context.WithCancel(ctx)
		} else {
			l.ctx, end = context.WithDeadline(ctx, l.deadline)
		}
		soon := func() { time.AfterFunc(l.grace, end) }
		stop := context.AfterFunc(l.caller, func() {
			b := l.bound()
			if b == l.caller {
				soon()
				return
			}
			forget := context.AfterFunc(b, soon)
			context.AfterFunc(l.ctx, func() { forget() })
			if deadline, ok := l.caller.Deadline(); ok {
				t := time.AfterFunc(time.Until(deadline)+l.grace, end)
				context.AfterFunc(l.ctx, func() { t.Stop() })
			}
		})
		stopOther := func() bool { return true }
		if l.other != nil {
			stopOther = context.AfterFunc(l.other, soon)
		}
		l.end = func() { stop(); stopOther(); end() }
	})
	return l.ctx
}

// stop ends l.
func (l *late) stop() {
	l.once.Do(func() { l.ctx, l.end = over, func() {} })
	l.end()
}

type boundKey struct{}

// bound returns what l outlives: caller, or what bounds the function of the hold
// if it is the release of that which has ended caller.
func (l *late) bound() context.Context {
	if l.releases == nil || context.Cause(l.caller) != ErrReleased {
		return l.caller
	}
	if of, ok := HoldFrom(l.caller); !ok || !slices.Contains(l.releases.members(), of) {
		return l.caller
	}
	if b, ok := l.caller.Value(boundKey{}).(context.Context); ok {
		return b
	}
	return context.Background()
}

// silence tells why a call under l failed.
func (l *late) silence(err error) error {
	switch b := l.bound(); {
	case l.Err() == nil:
		return err
	case b.Err() != nil:
		return ctxError(b)
	}
	return ErrUnavailable
}

// over is a context that has ended.
var over = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

func (l *late) Deadline() (time.Time, bool) { return l.made().Deadline() }
func (l *late) Done() <-chan struct{}       { return l.made().Done() }
func (l *late) Err() error                  { return l.made().Err() }
func (l *late) Value(key any) any           { return l.made().Value(key) }

// signs returns channels of which one is closed before ctx ends, unless its
// deadline ends it.
func signs(ctx context.Context) (ended, other <-chan struct{}) {
	l, ok := ctx.(*late)
	switch {
	case !ok:
		return ctx.Done(), nil
	case l.other != nil:
		other = l.other.Done()
	}
	return l.caller.Done(), other
}

// detached returns a context with the values of ctx that outlives it by grace,
// and ends after patience.
func detached(ctx context.Context) *late {
	return &late{caller: ctx, grace: grace, deadline: time.Now().Add(patience)}
}

// releasing is detached for a release of h that begins now.
func (h *Hold) releasing(ctx context.Context) *late {
	l := detached(ctx)
	if ctx.Err() == nil {
		l.releases = h
	}
	return l
}

// patient returns a context that ends with ctx, and after patience.
func patient(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, patience, ErrUnavailable)
}

// ctxError returns the error of a context that is done, and its cause where
// that says more.
func ctxError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// pause waits for d or until ctx is done, and returns the next pause.
func pause(ctx context.Context, d time.Duration) time.Duration {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return min(2*d, maxWake)
}
