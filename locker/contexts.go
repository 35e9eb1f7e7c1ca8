package locker

import (
	"context"
	"errors"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/xctx"
)

// patient returns a context that ends with ctx, and after a patience.
func patient(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, calls.Patience, ErrUnavailable)
}

// ctxError returns the error of a context that is done, and its cause where that
// says more.
func ctxError(ctx context.Context) error {
	return xctx.Err(ctx, ErrUnavailable) // that ended our own patience, not the caller's
}

// timeoutCause tells why a call under g failed.
func timeoutCause(g *xctx.Grace, err error) error {
	switch outlives := g.Outlives(); {
	case outlives.Err() != nil && g.Err() != nil:
		return silent(ctxError(outlives))
	case err == nil, errors.Is(err, batch.ErrNoAnswer), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return ErrUnavailable
	}
	return err
}
