package guard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcderr"
	"github.com/phpgao/elock/internal/watchstream"
	"github.com/phpgao/elock/internal/xctx"
	"github.com/phpgao/elock/locker"
)

// patience bounds a read whose context has no deadline.
const patience = 5 * time.Second

// get reads what is stored: nil if nothing is. rev is etcd's. It tries again
// until a member answers, or ctx ends.
func (s stored[T]) get(ctx context.Context, opts ...clientv3.OpOption) (kv *mvccpb.KeyValue, rev int64, err error) {
	if _, ok := ctx.Deadline(); ok {
		return s.persist(ctx, opts)
	}
	return s.current(ctx, opts...)
}

// current is get within patience. A watch must not wait for one read until its
// own context ends.
func (s stored[T]) current(ctx context.Context, opts ...clientv3.OpOption) (kv *mvccpb.KeyValue, rev int64, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, locker.ErrUnavailable)
	defer cancel()
	return s.persist(ctx, opts)
}

// persist reads until etcd answers or refuses, or ctx ends.
func (s stored[T]) persist(ctx context.Context, opts []clientv3.OpOption) (kv *mvccpb.KeyValue, rev int64, err error) {
	ctx = watchstream.Own(ctx)
	client, wait := s.g.locker.Client(), xctx.FirstPause
	for n := 0; ; n++ {
		try, cancel := context.WithTimeout(ctx, xctx.Patience(n))
		resp, err := client.KV.Get(try, s.name(), opts...)
		silent := try.Err() != nil
		cancel()
		err = etcderr.Of(client, err)
		switch {
		case err == nil && len(resp.Kvs) > 0:
			return resp.Kvs[0], resp.Header.Revision, nil
		case err == nil:
			return nil, resp.Header.Revision, nil
		case ctx.Err() != nil:
			return nil, 0, unanswered(ctx, err)
		case client.Ctx().Err() != nil:
			return nil, 0, errClientClosed
		case !silent && !etcderr.Passing(err):
			return nil, 0, err
		}
		wait = xctx.Pause(ctx, wait)
	}
}

// unanswered returns the error of a read that ended with ctx, and etcd's last
// error where that says more. A caller that cancels says nothing of etcd.
func unanswered(ctx context.Context, last error) error {
	err := ctxError(ctx)
	if errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, locker.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", err, locker.ErrUnavailable)
	}
	if etcderr.Ended(last) {
		return err
	}
	return fmt.Errorf("%w: %w", err, last)
}
