package batch

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/phpgao/elock/internal/etcderr"
)

var (
	// ErrNoAnswer says that a call was given up after its patience.
	ErrNoAnswer = errors.New("locker: no answer")
	// ErrTogether says that a transaction was rejected with others, perhaps because of what these contain. It goes alone the
	// next time.
	ErrTogether = errors.New("locker: rejected together with others")

	errUnsent = errors.New("locker: not sent")
	// errResent marks the error of a resend: the first attempt may have been applied.
	errResent = errors.New("locker: perhaps carried out before")
)

// NotApplied reports whether err says that etcd did not carry out a request, by its own answer or because it was not sent. After
// any other error the request may have been, or may yet be, carried out.
func NotApplied(err error) bool {
	switch {
	case errors.Is(err, errResent):
		return false
	case errors.Is(err, errUnsent):
		return true
	}
	return !errors.Is(err, ErrTogether) && etcderr.Refused(err)
}

// Answered reports whether err, for which NotApplied is false, is etcd's answer to a transaction that was sent once. Then nothing
// is on its way any more: the transaction was carried out before the answer, or never will be.
func Answered(err error) bool {
	return errors.Is(err, rpctypes.ErrNoSpace) && !errors.Is(err, errResent)
}

// Open wraps the error of a transaction that was sent another time, too, and may have been carried out then: NotApplied is false.
func Open(err error) error { return fmt.Errorf("%w: %w", errResent, err) }

// failure returns the error of a batch under ctx. resend says that it was sent before, and doubt that etcd may have carried it
// out then.
func (b *Batcher) failure(ctx context.Context, err error, resend, doubt bool) error {
	if ctx.Err() != nil && b.cfg.Limits.Parent().Err() == nil {
		b.cfg.Silent()
		err = fmt.Errorf("%w: %w", ErrNoAnswer, err)
	}
	if doubt || resend && !etcderr.Contents(err) {
		err = Open(err)
	}
	return err
}
