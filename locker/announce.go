package locker

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/losswatch"
	"github.com/phpgao/elock/internal/place"
	"github.com/phpgao/elock/internal/queue"
	"github.com/phpgao/elock/internal/xctx"
)

// maxAnnouncement keeps the record in the lock's key small, as those who wait read the records
// of those ahead of them.
const maxAnnouncement = 16 << 10

// Announcing makes an acquire announce text to all who look at the lock: while it waits and
// while it holds, others see the text as Owner.Announcement. Hold.Announce changes it. It is
// 16 KiB at most, and need not be UTF-8.
//
// The text is in the lock's key, and so ends with the hold. Such an acquire has an entry in etcd
// of its own: its lock is not handed on within the process, and not retained. It cannot share
// the lock.
func Announcing(text string) AcquireOption {
	return func(r *request) {
		r.Announces, r.Announcement = true, text
		r.err = cmp.Or(r.err, checkAnnouncement(text))
	}
}

func checkAnnouncement(text string) error {
	if len(text) > maxAnnouncement {
		return invalid("announcement of %d bytes; want at most %d", len(text), maxAnnouncement)
	}
	return nil
}

// Announce replaces what the hold announces, which was acquired with Announcing.
//
// etcd takes the text only while the lock's key is what it was. So a text that arrives late, of
// a hold that was lost, is never seen, and texts of one hold are seen in the order in which
// Announce was called. ctx bounds the call. If it ends, or the hold does, before etcd has
// answered, the error matches ErrOutcomeUnknown too: the text may be seen, until the next one.
// If the lock is lost, the error is the reason, and the hold ends.
func (h *Hold) Announce(ctx context.Context, text string) error {
	return h.call("announce", ctx, func(ctx context.Context) error {
		if h.turn == nil {
			return invalid("Announce of a hold that was acquired without Announcing")
		}
		if err := checkAnnouncement(text); err != nil {
			return err
		}
		select {
		case h.turn <- struct{}{}:
			defer func() { <-h.turn }()
		case <-ctx.Done():
			return ctx.Err()
		}
		inDoubt, err := h.entry.Announce(ctx, text)
		if inDoubt {
			return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
		}
		return err
	})
}

// call calls f for an operation of that name. Its context ends with ctx and with h; then the
// error is the reason.
func (h *Hold) call(op string, ctx context.Context, f func(ctx context.Context) error) error {
	under, cancel := xctx.Merge(ctx, h.Context())
	defer cancel()
	err := h.Err()
	if err == nil && ctx.Err() == nil {
		if err = f(under); err == nil {
			return nil
		}
	}
	switch err {
	case queue.ErrEvicted: // the deletion follows, and ends the hold
		err = &LostError{Reason: ReasonEvicted, Token: h.token}
	case place.ErrDisplaced:
		err = &LostError{Reason: ReasonKeyDeleted, Token: h.token}
		h.l.entriesMissing([]losswatch.Entry{{Key: h.entry.Name, Rev: h.entry.Rev}})
		xctx.Await(h.Context().Done(), 2*calls.Grace) // for the reason
	}
	if under.Err() != nil {
		why := h.endCause()
		if why == nil {
			why = ctxError(ctx)
		}
		if errors.Is(err, ErrOutcomeUnknown) {
			why = fmt.Errorf("%w: %w", ErrOutcomeUnknown, why)
		}
		err = why
	}
	return &Error{Op: op, Key: h.names(), Err: err}
}
