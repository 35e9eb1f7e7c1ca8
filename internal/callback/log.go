package callback

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

const (
	// slowLog is how long a record may take. Then its handler goes on alone, and until it is done no other record is waited for:
	// what logs may have to renew leases, or to tell of losses.
	slowLog = 100 * time.Millisecond
	// maxStuck is how many handlers may go on so. Further records are dropped.
	maxStuck = 64
)

// Logger returns a Logger for rare records whose handler may panic, end its goroutine, or be stuck: then the record is lost, and
// that is all.
func Logger(log *slog.Logger) *slog.Logger {
	return slog.New(handler{log.Handler(), new(atomic.Int64)})
}

// A handler takes a goroutine for each call.
type handler struct {
	of    slog.Handler
	stuck *atomic.Int64 // calls that go on alone
}

// try calls f, and reports whether it has come to its end in time.
func (h handler) try(f func()) bool {
	patience := slowLog
	switch n := h.stuck.Load(); {
	case n >= maxStuck:
		return false
	case n > 0:
		patience = 0
	}
	var parted atomic.Bool // the caller from f
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			_ = recover() // there is no other place to tell
			if parted.Swap(true) {
				h.stuck.Add(-1)
			}
		}()
		f()
	}()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-done:
		return true
	case <-limit.C:
	}
	if !parted.Swap(true) {
		h.stuck.Add(1)
	}
	return false
}

// Enabled says yes, too, if the handler does not answer in time.
func (h handler) Enabled(ctx context.Context, level slog.Level) bool {
	var on atomic.Bool
	inTime := h.try(func() { on.Store(h.of.Enabled(ctx, level)) })
	return on.Load() || !inTime
}

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	h.try(func() { _ = h.of.Handle(ctx, r) })
	return nil // nobody looks at it
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.with(func(of slog.Handler) slog.Handler { return of.WithAttrs(attrs) })
}

func (h handler) WithGroup(name string) slog.Handler {
	return h.with(func(of slog.Handler) slog.Handler { return of.WithGroup(name) })
}

func (h handler) with(f func(slog.Handler) slog.Handler) slog.Handler {
	of := make(chan slog.Handler, 1)
	h.try(func() { of <- f(h.of) })
	select {
	case with := <-of:
		return handler{with, h.stuck}
	default:
		return h
	}
}
