package locker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/xctx"
	"github.com/phpgao/elock/keyspace"
)

// AcquireAll acquires several keys, each as Acquire does and with the same
// options, and holds them as one. It takes them in an order of its own, the same
// in every process, so that callers who name them in different orders never wait
// for each other in a circle. If it fails, none is held. A key that comes twice is
// ErrInvalidOption. With Slots, it takes as many of each.
//
// If all of them are free, one transaction of etcd acquires them: hooks see that
// as a try of each, and if it fails as another acquire of each.
//
// What ReadKeys names is read once, when all are held. MaxHeld counts for each lock
// from when that was acquired, and the first that is over ends all. AtLeast counts so,
// too, and only if all are held: if AcquireAll fails, none stays taken. Where etcd is
// silent, AcquireAll returns within a second after the end of ctx.
func (l *Locker) AcquireAll(ctx context.Context, keys []keyspace.Key, opts ...AcquireOption) (*HoldSet, error) {
	keys = slices.Clone(keys)
	slices.SortFunc(keys, func(a, b keyspace.Key) int { return strings.Compare(a.String(), b.String()) })
	atLeast, err := l.admitAll(ctx, keys, opts)
	if err != nil {
		return nil, err
	}
	if atLeast > 0 { // only once all are held
		opts = append(slices.Clip(opts), func(r *request) { r.atLeast = 0 })
	}
	for wait := calls.FirstPause; ; wait = xctx.Pause(ctx, wait) {
		s, err := l.acquireAll(ctx, opts, keys)
		if errors.Is(err, ErrLost) && ctx.Err() == nil {
			continue // one while it waited for another: to the end of the queues
		}
		if err == nil {
			for _, h := range s.holds {
				h.stayFor(atLeast)
			}
		}
		return s, err
	}
}

func (l *Locker) acquireAll(ctx context.Context, opts []AcquireOption, keys []keyspace.Key) (*HoldSet, error) {
	s, done := new(HoldSet), false
	defer func() {
		switch { // also when a callback panics; the error says more
		case done:
		case s.bound:
			_ = s.holds[0].release(ctx)
		default:
			_ = s.each(func(h *Hold) error { return h.release(ctx) })
		}
	}()
	if len(keys) > 1 {
		if err := l.takeFree(ctx, s, opts, keys); err != nil {
			return nil, err
		}
	}
	for i, key := range keys[len(s.holds):] {
		with := opts
		if i < len(keys)-1 { // the last one reads
			with = append(slices.Clip(opts), func(r *request) { r.Reads = nil })
		}
		h, err := l.Acquire(ctx, key, with...)
		if err != nil {
			return nil, err
		}
		s.holds = append(s.holds, h)
	}
	if err := s.bind(); err != nil {
		return nil, &Error{Op: "acquire", Key: s.holds[0].names(), Err: err}
	}
	done = true
	return s, nil
}

// admitAll is admit of all keys, and returns what AtLeast says.
func (l *Locker) admitAll(ctx context.Context, keys []keyspace.Key, opts []AcquireOption) (atLeast time.Duration, _ error) {
	if len(keys) == 0 {
		return 0, &Error{Op: "acquire", Err: invalid("no keys")}
	}
	for i, key := range keys {
		r, err := l.admit(ctx, key, false, opts)
		if err == nil && i > 0 && key == keys[i-1] {
			err = invalid("the key comes twice")
		}
		if err != nil {
			return 0, &Error{Op: "acquire", Key: key.String(), Err: err}
		}
		atLeast = r.atLeast
	}
	return atLeast, nil
}
