package election

import (
	"context"
	"fmt"
	"sync"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// An Election is one candidate's view of an election, whose leaders announce values of
// type T. It owns nothing that has to be closed. Its methods may be called from
// several goroutines.
type Election[T any] struct {
	config
	l     *locker.Locker
	key   keyspace.Key
	codec guard.Codec[T]

	mu   sync.Mutex
	last *locker.Hold // the term of this Election with the greatest token; guarded by mu
}

// New returns the election of that key. It sends nothing. Bad arguments are
// locker.ErrInvalidOption; a zero key matches keyspace.ErrInvalid too.
func New[T any](l *locker.Locker, key keyspace.Key, codec guard.Codec[T], opts ...Option) (*Election[T], error) {
	e := &Election[T]{l: l, key: key, codec: codec}
	var err error
	switch {
	case l == nil:
		err = invalid("nil Locker")
	case key.IsZero():
		err = errZeroKey
	case codec == nil:
		err = invalid("nil Codec")
	}
	for _, o := range opts {
		if o == nil {
			err = invalid("nil election.Option")
			break
		}
		o(&e.config)
	}
	if err != nil {
		return nil, named("elect", key, err)
	}
	return e, nil
}

// Campaign waits until the caller leads, in the order of arrival, and returns its term.
// Meanwhile it is a candidate with that value, which it announces when it leads.
// ctx bounds the wait and nothing else.
//
// When Campaign fails, the caller is no candidate any more; if etcd cannot be
// reached, its key is removed in the background. A candidate whose key or lease is
// lost while it waits goes to the end of the queue. The errors are those of
// locker.Locker.Acquire, and guard.ErrEncode if the codec cannot marshal the value. If
// ctx ends while another leads, the error matches that of ctx and locker.ErrLocked;
// if ctx is that of a term of this election, it is locker.ErrDeadlock.
func (e *Election[T]) Campaign(ctx context.Context, value T) (*Term[T], error) {
	t, err := e.campaign(ctx, value)
	return t, named("campaign", e.key, err)
}

func (e *Election[T]) campaign(ctx context.Context, value T) (*Term[T], error) {
	if ctx == nil {
		return nil, errNilContext
	}
	text, err := e.encode(value)
	if err != nil {
		return nil, err
	}
	opts := append(e.acquiring[:len(e.acquiring):len(e.acquiring)], locker.Announcing(text))
	h, err := e.l.Acquire(ctx, e.key, opts...)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.last == nil || e.last.Token() < h.Token() {
		e.last = h
	}
	return &Term[T]{e: e, hold: h}, nil
}

// IsLeader reports whether a term of this Election is going on. It consults the
// clocks and not etcd, and says false before anybody else can lead, as Term.Context
// does. What another Election of the process does it does not know.
func (e *Election[T]) IsLeader() bool {
	e.mu.Lock()
	h := e.last
	e.mu.Unlock()
	return h != nil && h.Err() == nil
}

func (e *Election[T]) encode(value T) (string, error) {
	data, err := e.codec.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("%w: %w", guard.ErrEncode, err)
	}
	return string(data), nil
}
