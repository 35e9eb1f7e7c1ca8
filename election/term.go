package election

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/locker"
)

// A Term is the time in which a candidate leads. Its methods may be called from several
// goroutines. Whoever got it from Campaign must call Resign.
type Term[T any] struct {
	e    *Election[T]
	hold *locker.Hold
}

// Context returns a context that is done when the term ends for any reason, and before
// anybody else can lead. context.Cause gives the reason: locker.ErrReleased after
// Resign and ResignTo, locker.ErrMaxHeld, locker.ErrClosed or a *locker.LostError. It
// has the values of Campaign's context, and neither its deadline nor its cancellation.
func (t *Term[T]) Context() context.Context { return t.hold.Context() }

// Token returns the fencing token of the term, greater than that of every earlier
// leader, in any process. A Leader has it too.
func (t *Term[T]) Token() locker.Token { return t.hold.Token() }

// Fence returns a comparison for the If of an etcd transaction of your own, which then
// cannot come after the next leader's. It holds for as long as the term's key is in
// etcd; once the term has ended, Fence returns one that never holds.
func (t *Term[T]) Fence() clientv3.Cmp { return t.hold.Fence() }

// Proclaim announces another value. Observers see the values of a term in the order in
// which Proclaim was called, and none of them after the next leader's.
//
// ctx bounds the call. If it ends, or the term does, before etcd has answered, the error
// matches locker.ErrOutcomeUnknown too: observers may see the value. If the term is over,
// the error is the reason, and matches locker.ErrLost if it was lost. An announcement is
// 16 KiB at most; a value that is larger is locker.ErrInvalidOption, and one that does not
// encode guard.ErrEncode.
func (t *Term[T]) Proclaim(ctx context.Context, value T) error {
	return named("proclaim", t.e.key, t.proclaim(ctx, value))
}

func (t *Term[T]) proclaim(ctx context.Context, value T) error {
	if ctx == nil {
		return errNilContext
	}
	text, err := t.e.encode(value)
	if err != nil {
		return err
	}
	return t.hold.Announce(ctx, text)
}

// Resign ends the term, and the next candidate leads. It works under a context that is
// done already, and waits for etcd's answer until half a second after the end of ctx, and
// 5 seconds at most. If there is none, it returns an error and goes on trying in the
// background. If the term ended earlier for another reason, it returns that.
// Resigning again is safe, and nil unless etcd still does not answer.
func (t *Term[T]) Resign(ctx context.Context) error {
	if ctx == nil {
		return named("resign", t.e.key, errNilContext)
	}
	return named("resign", t.e.key, t.hold.Release(ctx))
}

// ResignTo ends the term and has that candidate lead, as locker.WithOwner names
// it, though others came before it: these queue again at the end, some 50ms later. An old
// leader that campaigns again within that time comes before them: let it wait for a second.
//
// Queue.Waiters of locker.Locker.Inspect has the candidates' names. If there is no candidate
// of that name, ResignTo waits for one, and leads on meanwhile; so ctx wants a deadline.
//
// If ctx ends first, the error matches that of ctx and ErrNoCandidate, and
// the term goes on; so it does after any other error, unless that is the reason for
// which the term has ended, or of the release, as for Resign. A candidate of another
// library does not step back: while one is ahead, ResignTo waits.
//
// The named candidate leads by the plain rule of the queue: it is the first when the
// leader's key is gone. If it dies at that moment, others follow when its lease
// has ended, and at once if it gives up.
func (t *Term[T]) ResignTo(ctx context.Context, owner string) error {
	return named("resign", t.e.key, t.resignTo(ctx, owner))
}

func (t *Term[T]) resignTo(ctx context.Context, owner string) error {
	switch {
	case ctx == nil:
		return errNilContext
	case owner == "":
		return invalid("empty owner")
	}
	err := t.hold.Promote(ctx, owner)
	if errors.Is(err, locker.ErrNotWaiting) {
		err = t.promoteLater(ctx, owner)
	}
	if err != nil {
		return err
	}
	return t.hold.Release(ctx)
}

// promoteLater tries again whenever the queue changes.
func (t *Term[T]) promoteLater(ctx context.Context, owner string) error {
	under, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.hold.Context(), cancel)()
	for _, err := range t.e.l.Watch(under, t.e.key) {
		if err != nil {
			return err
		}
		if err := t.hold.Promote(ctx, owner); !errors.Is(err, locker.ErrNotWaiting) {
			return err
		}
	}
	if err := t.hold.Err(); err != nil {
		return err
	}
	return fmt.Errorf("%w: %q: %w", ErrNoCandidate, owner, context.Cause(ctx))
}
