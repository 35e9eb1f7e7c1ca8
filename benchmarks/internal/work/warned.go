package work

import (
	"context"
	"log/slog"
	"sync/atomic"
)

// warned is a slog.Handler that counts warnings and errors. It shows only the first: with many locks there can be as many.
type warned struct{ n atomic.Int64 }

func (w *warned) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }
func (w *warned) WithAttrs([]slog.Attr) slog.Handler               { return w }
func (w *warned) WithGroup(string) slog.Handler                    { return w }

func (w *warned) Handle(ctx context.Context, r slog.Record) error {
	if w.n.Add(1) > 1 {
		return nil
	}
	return slog.Default().Handler().Handle(ctx, r)
}
