package locker

import (
	"context"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/keyspace"
)

// remove deletes c's entry and no other, and reports whether it was there.
func (c *claim) remove(ctx context.Context) (bool, error) {
	if c.rev == 0 {
		if found, err := c.find(ctx); err != nil || !found {
			return false, err
		}
	}
	return c.l.deleteRevision(ctx, c.key, c.name, c.rev)
}

// deleteRevision deletes the key with that create revision and no other, and
// reports whether it was there.
func (l *Locker) deleteRevision(ctx context.Context, key keyspace.Key, name string, rev int64) (bool, error) {
	a, err := l.batch.commit(ctx, removal(key, name, rev))
	return a.succeeded, err
}

// deleteKey is to get its key: that costs less than a new operation.
var deleteKey = clientv3.OpDelete("")

// removal deletes the key with that create revision and no other.
func removal(key keyspace.Key, name string, rev int64) txn {
	del := deleteKey
	del.WithKeyBytes([]byte(name))
	return txn{key: key, cmps: []clientv3.Cmp{created(name, rev)}, then: []clientv3.Op{del}, likely: true}
}

// created compares the create revision of a key, which is 0 where there is none.
func created(name string, rev int64) clientv3.Cmp {
	cmp := clientv3.CreateRevision(name)
	// What clientv3.Compare does to a copy, made by reflection.
	cmp.GetCompare().TargetUnion = &pb.Compare_CreateRevision{CreateRevision: rev}
	return cmp
}

// leased drops the keys that are not entries of a queue.
func leased(kvs []*mvccpb.KeyValue) []*mvccpb.KeyValue {
	return slices.DeleteFunc(kvs, func(kv *mvccpb.KeyValue) bool { return kv.Lease == 0 })
}
