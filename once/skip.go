package once

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/locker"
)

// spend marks the tick before it is run. It fails unless it is known that this call
// has marked it.
//
// The transaction requires that the lock is held. So one that arrives late, when it
// was given up and the lock was released, marks nothing; and no two calls mark one
// tick.
func (c *call) spend(ctx context.Context, h *locker.Hold, from *mvccpb.KeyValue, m marker) error {
	m.Started = timestamp()
	data := m.encode()
	cmps := []clientv3.Cmp{h.Fence(), c.unchanged(from)}
	put, get := clientv3.OpPut(c.path(), data), clientv3.OpGet(c.path())

	ctx, cancel := context.WithTimeoutCause(ctx, spendPatience, locker.ErrUnavailable)
	defer cancel()
	for n := 0; ; n++ {
		resp, err := c.send(ctx, cmps, put, get)
		switch {
		case err == nil && resp.Succeeded:
			return nil
		case err == nil:
			return refusal(h, from, resp.Responses[0].GetResponseRange().Kvs, data, n > 0)
		case n == 0 && errors.Is(err, rpctypes.ErrPermissionDenied):
			return err
		}
		pause(ctx, spendPause)
		if ctx.Err() != nil {
			return unknown(ctx, err)
		}
	}
}

func (c *call) send(ctx context.Context, cmps []clientv3.Cmp, then, els clientv3.Op) (*clientv3.TxnResponse, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	return c.l.Client().KV.Txn(ctx).If(cmps...).Then(then).Else(els).Commit()
}

// refusal returns why the marker data was not written, where now is what there is
// instead of from: nil if it was written after all, by an earlier try. again says that
// there was one.
func refusal(h *locker.Hold, from *mvccpb.KeyValue, now []*mvccpb.KeyValue, data string, again bool) error {
	var kv *mvccpb.KeyValue
	if len(now) > 0 {
		kv = now[0]
	}
	if kv != nil && bytes.Equal(kv.Value, []byte(data)) { // it has the token of h
		return nil
	}
	err := errChanged
	later, bad := decode(kv.GetValue())
	changed := kv.GetModRevision() != from.GetModRevision()
	switch {
	case h.Err() != nil:
		err = h.Err()
	case !changed, bad == nil && later.Token > h.Token():
		err = locker.ErrLost
	}
	if again && changed { // perhaps it was written over
		return fmt.Errorf("%w: %w", locker.ErrOutcomeUnknown, err)
	}
	return err
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// unknown returns the error of tries that ended with ctx, and etcd's last error where
// that says more.
func unknown(ctx context.Context, last error) error {
	err := fmt.Errorf("%w: %w", locker.ErrOutcomeUnknown, ctxError(ctx))
	if errors.Is(last, context.Canceled) || errors.Is(last, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w: %w", err, last)
}

// ctxError returns the error of a context that is done, and its cause where that
// says more.
func ctxError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) || cause == locker.ErrUnavailable { // that ended our own patience, not the caller's
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}
