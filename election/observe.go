package election

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/locker"
)

// A Leader is who leads, and what it announces.
type Leader[T any] struct {
	Name     string       // as locker.WithOwner says
	Token    locker.Token // of its term; 0 if nobody leads
	Value    T            // what it announced last
	Foreign  bool         // a client of another library: it has no Name
	Since    time.Time    // when it began to campaign, by its own clock
	Revision int64        // of etcd, at which it was so
}

// Vacant reports whether nobody leads.
func (l Leader[T]) Vacant() bool { return l.Token == 0 }

// Leader returns who leads, as etcd knows at this moment. If nobody does, the error is
// ErrNoLeader; if its value does not decode, guard.ErrDecode, with the rest of the
// Leader. If etcd is silent for 5 seconds, it is locker.ErrUnavailable.
func (e *Election[T]) Leader(ctx context.Context) (Leader[T], error) {
	if ctx == nil {
		return Leader[T]{}, named("leader", e.key, errNilContext)
	}
	q, err := e.l.Inspect(ctx, e.key)
	if err != nil {
		return Leader[T]{}, named("leader", e.key, err)
	}
	l, err := e.leaderOf(q)
	if err == nil && l.Vacant() {
		err = ErrNoLeader
	}
	return l, named("leader", e.key, err)
}

// Observe yields who leads, at once, and then in etcd's order each new leader, each
// announcement, and each vacancy: that is a Leader which is Vacant, and no error. One
// leader that follows another at the same moment has no vacancy before it.
//
// It goes on when a connection breaks, a leader of etcd is lost or etcd is away, and
// misses nothing by that. Only if etcd has compacted what happened meanwhile, that
// is left out, and the next is what is so now. A value that does not decode comes with
// an error that matches guard.ErrDecode, and Observe goes on.
//
// Observe ends when the loop does, or ctx. If the Locker is closed it yields
// locker.ErrClosed, and if etcd refuses to read, etcd's error: once, at the end. It needs
// no campaign, and may be called several times.
func (e *Election[T]) Observe(ctx context.Context) iter.Seq2[Leader[T], error] {
	return func(yield func(Leader[T], error) bool) {
		if ctx == nil {
			yield(Leader[T]{}, named("observe", e.key, errNilContext))
			return
		}
		first := true
		var last locker.Owner // who led, and with which announcement
		for q, err := range e.l.Watch(ctx, e.key) {
			if err != nil {
				yield(Leader[T]{}, named("observe", e.key, err))
				return
			}
			now := head(q)
			if !first && now.Token == last.Token && now.Written == last.Written {
				continue // among candidates
			}
			first, last = false, now
			l, err := e.leaderOf(q)
			if !yield(l, named("observe", e.key, err)) {
				return
			}
		}
	}
}

// head returns who leads, the zero Owner if nobody does.
func head(q locker.Queue) locker.Owner {
	if len(q.Holders) == 0 {
		return locker.Owner{}
	}
	return q.Holders[0]
}

func (e *Election[T]) leaderOf(q locker.Queue) (Leader[T], error) {
	o := head(q)
	l := Leader[T]{Name: o.Name, Token: o.Token, Foreign: o.Foreign, Since: o.Since, Revision: q.Revision}
	if l.Vacant() {
		return l, nil
	}
	value, err := e.codec.Unmarshal([]byte(o.Announcement))
	if err != nil {
		return l, fmt.Errorf("%w: %w", guard.ErrDecode, err)
	}
	l.Value = value
	return l, nil
}
