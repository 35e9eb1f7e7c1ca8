package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/place"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/keyspace"
)

// ErrNotWaiting says that an owner is not in a queue, or that it cannot be the next there.
var ErrNotWaiting = errors.New("locker: owner does not wait for the lock, or cannot be next")

// maxStepBack is how many entries step back in one transaction.
const maxStepBack = 50

// Promote has the entry of an owner follow directly after that of a holder, by deleting those between them. It tries until ctx
// ends, and may be repeated. The error is place.ErrDisplaced if the holder's entry is gone, and ErrNotWaiting if that owner has
// none behind it, or only behind a foreign one: then nothing has changed.
func (i *Inspector) Promote(ctx context.Context, key keyspace.Key, holder *place.Place, owner string) error {
	// What any member has is good enough at first: nobody comes between the holder and a waiter, and the transaction fails if
	// somebody there has gone.
	opts := []clientv3.OpOption{clientv3.WithSerializable()}
	for {
		all, _, err := i.Entries(ctx, key, opts...)
		if err != nil {
			return err
		}
		next, between, err := behind(all, holder.Is, owner)
		if err != nil && len(opts) > 0 {
			opts = nil
			continue
		}
		if err != nil || len(between) == 0 {
			return err
		}
		n := min(len(between), maxStepBack)
		done, err := i.stepBack(ctx, holder, next, between[:n])
		if err != nil || done && n == len(between) {
			return err
		}
		if !done {
			opts = nil
		}
	}
}

// behind returns the first entry of an owner behind the holder's, and those between the two.
func behind(queue []*mvccpb.KeyValue, holds func(*mvccpb.KeyValue) bool, owner string) (next *mvccpb.KeyValue, between []*mvccpb.KeyValue, err error) {
	at := slices.IndexFunc(queue, holds)
	if at < 0 {
		return nil, nil, place.ErrDisplaced
	}
	for _, kv := range queue[at+1:] {
		switch r, ours := record.Parse(kv.Value); {
		case !ours:
			return nil, nil, fmt.Errorf("%w: a client of another library is ahead of %q", ErrNotWaiting, owner)
		case r.Owner == owner:
			return kv, between, nil
		}
		between = append(between, kv)
	}
	return nil, nil, fmt.Errorf("%w: nobody of the name %q", ErrNotWaiting, owner)
}

// stepBack deletes entries between the holder's and next, unless anything has changed, and reports whether it did. If its answer
// was lost, it may have done so all the same.
func (i *Inspector) stepBack(ctx context.Context, holder *place.Place, next *mvccpb.KeyValue, between []*mvccpb.KeyValue) (done bool, err error) {
	unchanged := []clientv3.Cmp{record.Created(holder.Name, holder.Rev), record.Created(string(next.Key), next.CreateRevision)}
	var deletions []clientv3.Op
	for _, kv := range between {
		unchanged = append(unchanged, record.Created(string(kv.Key), kv.CreateRevision))
		deletions = append(deletions, clientv3.OpDelete(string(kv.Key)))
	}
	err = i.Etcd.Persist(ctx, func(ctx context.Context) error {
		resp, _, err := i.Etcd.Txn(ctx, unchanged, deletions, nil)
		if err == nil {
			done = resp.Succeeded
		}
		return err
	})
	return done, err
}
