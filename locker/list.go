package locker

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/phpgao/elock/internal/inspect"
	"github.com/phpgao/elock/keyspace"
)

// ErrCompacted says that etcd was compacted while List or Blocking read page by page, so that the
// rest of what they read is gone. It matches etcd's rpctypes.ErrCompacted too.
var ErrCompacted error = &kind{"locker: etcd was compacted during the listing", rpctypes.ErrCompacted}

// A ListOption selects what List yields.
type ListOption func(*selection)

// A selection is what the options of a List ask for.
type selection struct {
	owner     string        // empty: any
	age       time.Duration // 0: any
	contended bool
	err       error // the first bad option
}

// ListOwner selects locks that a process of this name holds or waits for, see WithOwner. Owners
// that are foreign have no name.
func ListOwner(name string) ListOption {
	return func(s *selection) {
		if name == "" {
			s.err = invalid("listing an owner without a name")
		}
		s.owner = name
	}
}

// ListAge selects locks with an owner that began to wait at least d ago: by its own clock, at
// the start of the listing by ours. With ListOwner it is that owner. Of foreign ones the age is
// not known, and they do not count.
func ListAge(d time.Duration) ListOption {
	return func(s *selection) {
		if d < 0 {
			s.err = invalid("listing the age %v; want 0 or more", d)
		}
		s.age = d
	}
}

// ListContended selects locks for which somebody waits.
func ListContended() ListOption { return func(s *selection) { s.contended = true } }

func selectionOf(opts []ListOption) (s selection) {
	for _, o := range opts {
		if o == nil {
			s.err = invalid("nil ListOption")
		} else {
			o(&s)
		}
		if s.err != nil {
			break
		}
	}
	return s
}

// has reports whether the selection has q, at a time.
func (s *selection) has(q Queue, now time.Time) bool {
	if s.contended && len(q.Waiters) == 0 {
		return false
	}
	of := func(o Owner) bool {
		return (s.owner == "" || o.Name == s.owner) && (s.age == 0 || !o.Foreign && now.Sub(o.Since) >= s.age)
	}
	return slices.ContainsFunc(q.Holders, of) || slices.ContainsFunc(q.Waiters, of)
}

// List yields every lock that is held, retained or only stays taken (AtLeast), and whose name
// begins with under and a slash: not the lock under itself. If under is empty, it is every lock of
// the Locker's prefix. The owners are those of Inspect, whichever library they use. Each lock comes
// once, with all its owners, in the order of the paths in etcd.
//
// All is as it was at one moment, that of the first page. List reads pages of some 2000
// entries as the loop gets to them, and keeps one page and one queue in memory, so it may list any
// number of locks. A page is two reads, or a few more where values of guards lie between the
// locks; these are not read. Nothing is written.
//
// An error comes last, with the zero Queue. ctx bounds the listing; a page for which etcd is silent for
// 5 seconds ends it with ErrUnavailable. If etcd is compacted before the last page is read, the listing ends with
// ErrCompacted: what was yielded stands, and the caller may begin anew. A loop that takes
// longer than etcd's compaction period should collect first. A bad name matches
// keyspace.ErrInvalid, and nothing is sent.
//
// What List returns may be used again, for a new listing. A loop that breaks leaves nothing behind.
func (l *Locker) List(ctx context.Context, under string, opts ...ListOption) iter.Seq2[Queue, error] {
	return func(yield func(Queue, error) bool) {
		if err := l.list(ctx, under, opts, func(q Queue) bool { return yield(q, nil) }); err != nil {
			yield(Queue{}, &Error{Op: "list", Key: under, Err: err})
		}
	}
}

// list calls yield for each queue until it returns false. Then the error is nil.
func (l *Locker) list(ctx context.Context, under string, opts []ListOption, yield func(Queue) bool) error {
	s := selectionOf(opts)
	if s.err != nil {
		return s.err
	}
	below, err := belowKey(under)
	if err != nil {
		return err
	}
	now := time.Now()
	for q, err := range l.queuesBelow(ctx, below) {
		if err != nil {
			return err
		}
		if s.has(q, now) && !yield(q) {
			return nil
		}
	}
	return nil
}

// belowKey returns the zero Key if under is empty.
func belowKey(under string) (key keyspace.Key, err error) {
	if under != "" {
		key, err = keyspace.Parse(under)
	}
	return key, err
}

// queuesBelow yields the queues of all locks whose names begin with under and a slash, and an error last.
func (l *Locker) queuesBelow(ctx context.Context, under keyspace.Key) iter.Seq2[Queue, error] {
	return func(yield func(Queue, error) bool) {
		if err := l.check(); err != nil {
			yield(Queue{}, err)
			return
		}
		walk := l.inspector.Walk(under)
		for more := true; more; {
			var queues []inspect.Queue
			var err error
			if queues, more, err = l.nextPage(ctx, walk); err != nil {
				yield(Queue{}, err)
				return
			}
			for _, q := range queues {
				if ctx.Err() != nil {
					yield(Queue{}, ctxError(ctx))
					return
				}
				if !yield(queueOf(q.Key, q.Entries, walk.Revision()), nil) {
					return
				}
			}
		}
	}
}

func (l *Locker) nextPage(ctx context.Context, walk *inspect.Walk) (queues []inspect.Queue, more bool, err error) {
	if err := l.check(); err != nil {
		return nil, false, err
	}
	if ctx.Err() != nil {
		return nil, false, ctxError(ctx)
	}
	ctx, cancel := patient(ctx)
	defer cancel()
	queues, more, err = walk.Next(ctx)
	if errors.Is(err, rpctypes.ErrCompacted) {
		return nil, false, ErrCompacted
	}
	return queues, more, etcdError(ctx, err)
}
