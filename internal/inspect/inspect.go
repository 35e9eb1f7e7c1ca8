// Package inspect reads the queues of locks, follows and reorders them, and evicts their owners, from outside: it takes part in no
// queue.
//
// # Invariants
//
//   - A queue is read at one revision, and so are all queues of a Walk, however many pages they are.
//   - A Walk returns each queue once and whole, reads no values that lie between queues, and keeps no more than a page and a queue.
//   - [Inspector.Follow] tells each state of a queue in etcd's order, and leaves out only what etcd has compacted.
//   - An entry is deleted only at the create revision at which it was read. So an eviction takes nothing from who came after, and
//     [Inspector.Promote] does nothing unless the entry behind which the others step back is still there.
//   - An eviction is written into the record before the entry is deleted, so that its owner learns of it from the watch.
//
// It does not know holds, or who asks. What reads other locks' queues belongs here.
package inspect

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/feed"
	"github.com/phpgao/elock/internal/queue"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/keyspace"
)

// An Inspector looks at the queues of locks. Its methods may be called from several goroutines.
type Inspector struct {
	Etcd   *calls.Client
	Queues *queue.Set // deletes entries
	Feeds  *feed.Hub  // watches queues
	Prefix string     // of all keys
}

// Entries returns the queue of key, the holder first, and the revision at which it was so. It tries until ctx ends.
func (i *Inspector) Entries(ctx context.Context, key keyspace.Key, opts ...clientv3.OpOption) (all []*mvccpb.KeyValue, rev int64, err error) {
	get := clientv3.OpGet(key.Path(i.Prefix), append(opts, clientv3.WithPrefix(),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))...)
	err = i.Etcd.Persist(ctx, func(ctx context.Context) error {
		resp, err := i.Etcd.Read(ctx, get)
		if err == nil {
			all, rev = resp.Responses[0].GetResponseRange().Kvs, resp.Header.Revision
		}
		return err
	})
	return record.Entries(all), rev, err
}

// EvictHolders evicts those who hold the lock of key, and reports whether there was one. It tries until ctx ends; after an error
// they may be evicted all the same.
func (i *Inspector) EvictHolders(ctx context.Context, key keyspace.Key) (evicted bool, err error) {
	all, _, err := i.Entries(ctx, key)
	if err != nil {
		return false, err
	}
	for _, holder := range all[:record.Holding(all)] {
		gone, err := i.Evict(ctx, key, holder)
		if err != nil {
			return false, err
		}
		evicted = evicted || gone
	}
	return evicted, nil
}

// Evict deletes an entry, whoever owns it, and reports whether it was there. It tries
// until ctx ends; after an error the entry may be gone all the same.
func (i *Inspector) Evict(ctx context.Context, key keyspace.Key, entry *mvccpb.KeyValue) (bool, error) {
	name, marked := string(entry.Key), false
	if r, ok := record.Parse(entry.Value); ok {
		// Say it in the record first: the owner reads it in the event of the
		// deletion. While etcd has no space it refuses that, but no deletion.
		r.Evicted = true
		err := i.Etcd.Persist(ctx, func(ctx context.Context) error {
			resp, _, err := i.Etcd.Txn(ctx, []clientv3.Cmp{record.Created(name, entry.CreateRevision)},
				[]clientv3.Op{clientv3.OpPut(name, string(r.Encode()), clientv3.WithIgnoreLease())}, nil)
			if err == nil {
				marked = marked || resp.Succeeded // an owner that only retains the lock may give it up at that
			}
			return err
		})
		if err != nil && !errors.Is(err, rpctypes.ErrNoSpace) {
			return false, err
		}
	}
	gone := false
	err := i.Etcd.Persist(ctx, func(ctx context.Context) error {
		deleted, inDoubt, err := i.Queues.Delete(ctx, key, name, entry.CreateRevision)
		gone = gone || deleted || inDoubt
		return err
	})
	return gone || marked, err
}
