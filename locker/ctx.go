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

// A late is a context with the values of caller that outlives it by grace. There
// may be another context that it outlives as well, or a limit that ends it, but
// not both. It is made when it is first asked for: a transaction that goes with
// others is answered without, unless one of these contexts ends meanwhile.
type late struct {
	caller, other context.Context
	grace         time.Duration
	limit         context.Context
	releases      *Hold // whose end by this very call may be what ends caller; nil for other calls

	once sync.Once
	ctx  context.Context
	end  func()
}

func (l *late) made() context.Context {
	l.once.Do(func() {
		ctx, end := context.WithCancel(context.WithoutCancel(l.caller))
		l.ctx = ctx
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
		none := func() bool { return true }
		stopOther, stopLimit := none, none
		if l.other != nil {
			stopOther = context.AfterFunc(l.other, soon)
		}
		if l.limit != nil {
			stopLimit = context.AfterFunc(l.limit, end)
		}
		l.end = func() { stop(); stopOther(); stopLimit(); end() }
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

// signs returns channels of which one is closed before ctx ends.
func signs(ctx context.Context) (ended, other <-chan struct{}) {
	l, ok := ctx.(*late)
	switch {
	case !ok:
		return ctx.Done(), nil
	case l.other != nil:
		other = l.other.Done()
	case l.limit != nil:
		other = l.limit.Done()
	}
	return l.caller.Done(), other
}

// detached returns a context with the values of ctx that outlives it by grace,
// and ends after patience.
func (l *Locker) detached(ctx context.Context) *late {
	return &late{caller: ctx, grace: grace, limit: l.limit()}
}

// A limit is a context that ends patience after it began.
type limit struct {
	ctx   context.Context
	began time.Time
}

// limit returns a context that ends after patience, or up to a second earlier:
// it is shared by those who ask for it within a second. A timer for each of
// them would wake another thread each time.
func (l *Locker) limit() context.Context {
	if m := l.limited.Load(); m != nil && time.Since(m.began) < maxWake {
		return m.ctx
	}
	ctx, end := context.WithCancel(context.Background())
	time.AfterFunc(patience, end)
	l.limited.Store(&limit{ctx, time.Now()})
	return ctx
}

// releasing is detached for a release of h that begins now.
func (h *Hold) releasing(ctx context.Context) *late {
	l := h.claim.l.detached(ctx)
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
