package locker

import (
	"context"
	"errors"
	"fmt"
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

// linger returns a context with the values of ctx that outlives it by d.
func linger(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	l, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(d, cancel) })
	return l, func() { stop(); cancel() }
}

// detached returns a context with the values of ctx that outlives it by grace,
// and ends after patience.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	l, stop := linger(ctx, grace)
	d, cancel := context.WithTimeout(l, patience)
	return d, func() { cancel(); stop() }
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
