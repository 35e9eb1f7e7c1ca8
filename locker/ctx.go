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

// after returns a context that ends so much later than ctx.
func after(ctx context.Context, d time.Duration) context.Context {
	later, end := context.WithCancel(context.Background())
	context.AfterFunc(ctx, func() { time.AfterFunc(d, end) })
	return later
}

// A late is a context with the values of caller, which it outlives by grace, unless
// limit ends. It is made when it is first asked for: a transaction that goes with
// others is answered without, unless caller or limit ends meanwhile.
type late struct {
	caller, limit context.Context
	grace         time.Duration
	releases      *Hold // whose end by this very call may be what ends caller; nil for other calls

	once   sync.Once
	ctx    context.Context
	end    context.CancelFunc
	forget func() bool // the caller
}

func (l *late) made() context.Context {
	l.once.Do(func() {
		l.ctx, l.end = context.WithCancel(valued{l.limit, l.caller})
		l.forget = context.AfterFunc(l.caller, l.callerEnded)
	})
	return l.ctx
}

func (l *late) callerEnded() {
	soon := func() { time.AfterFunc(l.grace, l.end) }
	b := l.bound()
	if b == l.caller {
		soon()
		return
	}
	forget := context.AfterFunc(b, soon)
	context.AfterFunc(l.ctx, func() { forget() })
	if deadline, ok := l.caller.Deadline(); ok {
		t := time.AfterFunc(time.Until(deadline)+l.grace, l.end)
		context.AfterFunc(l.ctx, func() { t.Stop() })
	}
}

// stop ends l.
func (l *late) stop() {
	l.once.Do(func() { l.ctx, l.end, l.forget = over, func() {}, func() bool { return true } })
	l.forget()
	l.end()
}

// A valued is a context with the values of another.
type valued struct {
	context.Context
	values context.Context
}

func (v valued) Value(key any) any {
	if own := v.Context.Value(key); own != nil { // of package context
		return own
	}
	return v.values.Value(key)
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
	if l, ok := ctx.(*late); ok {
		return l.caller.Done(), l.limit.Done()
	}
	return ctx.Done(), nil
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

// limit returns a context that ends after patience, or a little earlier: it is
// shared by those who ask for it in that time. A timer for each of them would
// wake another thread each time.
func (l *Locker) limit() context.Context {
	const little = 100 * time.Millisecond
	if m := l.limited.Load(); m != nil && time.Since(m.began) < little {
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
