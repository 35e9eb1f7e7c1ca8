package xctx

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// FirstPause is the pause before the second try, maxPause the longest.
	FirstPause = 20 * time.Millisecond
	maxPause   = time.Second
)

// Patience is how long the n-th try of a call to etcd waits for its answer, n
// from 0. Then the call goes again: etcd's client picks another member.
func Patience(n int) time.Duration {
	return [...]time.Duration{time.Second, time.Second, time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second}[min(n, 5)]
}

// Pause waits for d or until ctx is done, and returns the next pause.
func Pause(ctx context.Context, d time.Duration) time.Duration {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return min(2*d, maxPause)
}

// Await waits for c to be closed, for d at most.
func Await(c <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c:
	case <-t.C:
	}
}

// Merge returns a context that ends with ctx, or with other and its cause.
func Merge(ctx, other context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(other, func() { cancel(context.Cause(other)) })
	return ctx, func() { stop(); cancel(nil) }
}

// After returns a context that ends so much later than ctx.
func After(ctx context.Context, d time.Duration) context.Context {
	later, end := context.WithCancel(context.Background())
	context.AfterFunc(ctx, func() { time.AfterFunc(d, end) })
	return later
}

// A Limiter makes contexts that end with a parent, or after the patience of a
// try. Those for first tries are shared: a timer for each would wake another
// thread each time, and a deadline would go to etcd with each call.
type Limiter struct {
	parent context.Context
	first  time.Duration // the patience of first tries
	last   atomic.Pointer[limit]
}

type limit struct {
	ctx   context.Context
	began time.Time
}

// share is for how long a context is given to further callers.
const share = 100 * time.Millisecond

// NewLimiter returns a Limiter under parent.
func NewLimiter(parent context.Context) *Limiter { return NewPatient(parent, Patience(0)) }

// NewPatient is NewLimiter with another patience of first tries: for calls whose lost answers
// cannot be looked up.
func NewPatient(parent context.Context, first time.Duration) *Limiter {
	return &Limiter{parent: parent, first: first}
}

// Parent is what all contexts of the Limiter end with.
func (m *Limiter) Parent() context.Context { return m.parent }

// Within returns a context that ends after the patience of the n-th try, or a
// little earlier.
func (m *Limiter) Within(n int) context.Context {
	if n > 0 {
		return m.For(Patience(n))
	}
	if l := m.last.Load(); l != nil && time.Since(l.began) < share {
		return l.ctx
	}
	l := &limit{m.For(m.first), time.Now()}
	m.last.Store(l)
	return l.ctx
}

// For returns a context that ends after d.
func (m *Limiter) For(d time.Duration) context.Context {
	ctx, end := context.WithCancel(m.parent)
	time.AfterFunc(d, end)
	return ctx
}

// Err returns the error of a context that is done, and its cause where that says more. A cause that is one of own is returned as
// it is.
func Err(ctx context.Context, own ...error) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) || slices.Contains(own, cause) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// Unheard marks err, of a context that ended before an answer came, with silent, unless it has that mark.
func Unheard(err, silent error) error {
	if errors.Is(err, silent) {
		return err
	}
	return fmt.Errorf("%w: %w", err, silent)
}
